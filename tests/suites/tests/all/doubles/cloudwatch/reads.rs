//! ListMetrics, GetMetricStatistics and GetMetricData by the AWS SDK.

use aws_sdk_cloudwatch::error::ProvideErrorMetadata;
use aws_sdk_cloudwatch::types::{
    Dimension, DimensionFilter, Metric, MetricDataQuery, MetricStat, StandardUnit, Statistic,
};

use super::*;

#[tokio::test]
async fn list_metrics_filters_and_pages_by_500() {
    let (_cloudwatch, client) = start().await;
    let of_gpu = |n: i32| {
        datum()
            .set_dimensions(Some(gpu(&format!("i-{n:03}"), "0")))
            .build()
    };
    put(&client, NAMESPACE, (0..500).map(of_gpu).collect())
        .await
        .unwrap();
    put(&client, NAMESPACE, vec![datum().build(), datum().build()])
        .await
        .unwrap();
    put(&client, "Other", vec![datum().build()]).await.unwrap();

    let list = || client.list_metrics().namespace(NAMESPACE);
    let first = list().send().await.unwrap();
    assert_eq!(first.metrics().len(), 500);
    let token = first.next_token().unwrap();
    let second = list().next_token(token).send().await.unwrap();
    assert_eq!((second.metrics().len(), second.next_token()), (1, None));

    let any = DimensionFilter::builder().name("InstanceId").build();
    let one = DimensionFilter::builder()
        .name("InstanceId")
        .value("i-007")
        .build();
    let none = DimensionFilter::builder().name("GPU").value("1").build();
    for (filter, expected) in [(any, 500), (one, 1), (none, 0)] {
        let found = list().dimensions(filter).send().await.unwrap();
        assert_eq!(found.metrics().len(), expected);
    }
    let error = list().next_token("no token").send().await.unwrap_err();
    assert!(
        error
            .into_service_error()
            .is_invalid_parameter_value_exception()
    );
}

#[tokio::test]
async fn statistics_are_those_of_the_exact_dimension_set() {
    let (_cloudwatch, client) = start().await;
    let of_gpu = |n: &str| unvalued().set_dimensions(Some(gpu("i-1", n)));
    let datums = vec![
        of_gpu("0")
            .values(10.0)
            .values(20.0)
            .counts(3.0)
            .counts(1.0)
            .build(),
        of_gpu("0").value(40.0).build(),
        of_gpu("1").value(99.0).build(),
        of_gpu("0").value(7.0).unit(StandardUnit::Percent).build(),
    ];
    put(&client, NAMESPACE, datums).await.unwrap();
    let statistics = |dimensions: Vec<Dimension>| {
        client
            .get_metric_statistics()
            .namespace(NAMESPACE)
            .metric_name("GPUUtilization")
            .set_dimensions(Some(dimensions))
            .start_time(time(NOW - 300))
            .end_time(time(NOW + 60))
            .period(60)
    };
    let all = Statistic::values()
        .iter()
        .map(|s| Statistic::from(*s))
        .collect::<Vec<_>>();

    for no_such_metric in [vec![], gpu("i-1", "2"), vec![dimension("GPU", "0")]] {
        let request = statistics(no_such_metric).statistics(Statistic::Average);
        assert!(request.send().await.unwrap().datapoints().is_empty());
    }

    let request = statistics(gpu("i-1", "0")).set_statistics(Some(all));
    let reply = request.send().await.unwrap();
    assert_eq!(reply.label(), Some("GPUUtilization"));
    let [none, percent] = reply.datapoints() else {
        panic!("one data point for each unit: {reply:?}");
    };
    assert_eq!(none.timestamp(), Some(&time(NOW)));
    assert_eq!(none.unit(), Some(&StandardUnit::None));
    assert_eq!(none.sample_count(), Some(5.0));
    assert_eq!(none.sum(), Some(90.0));
    assert_eq!(none.average(), Some(18.0));
    assert_eq!(none.minimum(), Some(10.0));
    assert_eq!(none.maximum(), Some(40.0));
    assert_eq!(none.extended_statistics(), None);
    assert_eq!(percent.unit(), Some(&StandardUnit::Percent));
    assert_eq!(percent.average(), Some(7.0));

    let request = statistics(gpu("i-1", "0")).unit(StandardUnit::None);
    let request = request
        .extended_statistics("p60")
        .extended_statistics("p99.9");
    let reply = request.send().await.unwrap();
    let [percentiles] = reply.datapoints() else {
        panic!("only the unit asked for: {reply:?}");
    };
    let percentiles = percentiles.extended_statistics().unwrap();
    assert_eq!((percentiles["p60"], percentiles["p99.9"]), (10.0, 40.0));
}

#[tokio::test]
async fn unanswerable_statistics_are_refused() {
    let (_cloudwatch, client) = start().await;
    let statistics = |period, since| {
        client
            .get_metric_statistics()
            .namespace(NAMESPACE)
            .metric_name("GPUUtilization")
            .start_time(time(NOW - since))
            .end_time(time(NOW))
            .period(period)
    };
    let average = || statistics(60, 3600).statistics(Statistic::Average);
    for (request, code) in [
        (statistics(60, 3600), "InvalidParameterCombination"),
        (
            average().extended_statistics("p90"),
            "InvalidParameterCombination",
        ),
        (average().statistics("p90".into()), "InvalidParameterValue"),
        (
            statistics(60, 3600).extended_statistics("p101"),
            "InvalidParameterValue",
        ),
        (
            statistics(60, 3600).extended_statistics("tm90"),
            "InvalidParameterValue",
        ),
        (
            statistics(60, 60 * 1441).statistics(Statistic::Sum),
            "InvalidParameterCombination",
        ),
        (
            statistics(60, 0).statistics(Statistic::Sum),
            "InvalidParameterValue",
        ),
        (
            statistics(60, -60).statistics(Statistic::Sum),
            "InvalidParameterValue",
        ),
        (
            statistics(7, 3600).statistics(Statistic::Sum),
            "InvalidParameterValue",
        ),
        (
            statistics(90, 3600).statistics(Statistic::Sum),
            "InvalidParameterValue",
        ),
        (average().set_metric_name(None), "MissingParameter"),
    ] {
        let asked = format!("{request:?}");
        let error = request.send().await.unwrap_err().into_service_error();
        assert_eq!(error.code(), Some(code), "{asked}");
    }
    let most = statistics(60, 60 * 1440).statistics(Statistic::Sum);
    assert!(most.send().await.is_ok());
}

#[tokio::test]
async fn short_periods_show_high_resolution_only() {
    let (_cloudwatch, client) = start().await;
    let at = |seconds| datum().timestamp(time(NOW - 60 + seconds));
    let fine = |seconds| at(seconds).storage_resolution(1).build();
    let coarse = named("Coarse").value(1.0).timestamp(time(NOW - 20)).build();
    put(&client, NAMESPACE, vec![fine(1), fine(9), fine(31), coarse])
        .await
        .unwrap();
    let counts = async |metric: &str, period| {
        let request = client
            .get_metric_statistics()
            .namespace(NAMESPACE)
            .metric_name(metric);
        let request = request
            .start_time(time(NOW - 60))
            .end_time(time(NOW))
            .period(period);
        let reply = request
            .statistics(Statistic::SampleCount)
            .send()
            .await
            .unwrap();
        let point = |p: &aws_sdk_cloudwatch::types::Datapoint| {
            (
                p.timestamp().unwrap().secs() - NOW,
                p.sample_count().unwrap(),
            )
        };
        reply.datapoints().iter().map(point).collect::<Vec<_>>()
    };
    assert_eq!(counts("GPUUtilization", 10).await, [(-60, 2.0), (-30, 1.0)]);
    assert_eq!(counts("GPUUtilization", 60).await, [(-60, 3.0)]);
    assert_eq!(counts("Coarse", 10).await, []);
    assert_eq!(counts("Coarse", 60).await, [(-60, 1.0)]);
}

fn query(id: &str, dimensions: Vec<Dimension>, stat: &str) -> MetricDataQuery {
    let metric = Metric::builder()
        .namespace(NAMESPACE)
        .metric_name("GPUUtilization")
        .set_dimensions(Some(dimensions))
        .build();
    let stat = MetricStat::builder()
        .metric(metric)
        .period(60)
        .stat(stat)
        .build();
    MetricDataQuery::builder().id(id).metric_stat(stat).build()
}

#[tokio::test]
async fn get_metric_data_answers_each_query_for_its_exact_dimension_set() {
    let (_cloudwatch, client) = start().await;
    let of_gpu = |n: &str, value, ago| {
        let datum = datum().set_dimensions(Some(gpu("i-1", n)));
        datum.value(value).timestamp(time(NOW - ago)).build()
    };
    let cluster = unvalued()
        .set_values(Some((1..=10).map(f64::from).collect()))
        .build();
    let datums = vec![
        of_gpu("0", 1.0, 60),
        of_gpu("0", 2.0, 0),
        of_gpu("1", 3.0, 0),
        cluster,
    ];
    put(&client, NAMESPACE, datums).await.unwrap();

    let hidden = query("hidden", vec![], "Sum");
    let hidden = MetricDataQuery::builder()
        .set_metric_stat(hidden.metric_stat)
        .id("hidden")
        .return_data(false)
        .build();
    let reply = client
        .get_metric_data()
        .start_time(time(NOW - 120))
        .end_time(time(NOW + 60))
        .metric_data_queries(query("first", gpu("i-1", "0"), "Average"))
        .metric_data_queries(hidden)
        .metric_data_queries(query("cluster_p90", vec![], "p90"))
        .metric_data_queries(query("nothing", gpu("i-2", "0"), "Sum"))
        .send()
        .await
        .unwrap();
    let found: Vec<_> = reply
        .metric_data_results()
        .iter()
        .map(|result| {
            let seconds = result.timestamps().iter().map(|t| t.secs() - NOW);
            (
                result.id().unwrap(),
                seconds.collect::<Vec<_>>(),
                result.values().to_vec(),
            )
        })
        .collect();
    let expected = [
        ("first", vec![0, -60], vec![2.0, 1.0]),
        ("cluster_p90", vec![0], vec![9.0]),
        ("nothing", vec![], vec![]),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn unanswerable_queries_are_refused() {
    let (_cloudwatch, client) = start().await;
    let expression = MetricDataQuery::builder()
        .id("e")
        .expression("SEARCH('x')")
        .build();
    let average = |id| query(id, vec![], "Average");
    for (queries, says) in [
        (vec![expression], "no metric math"),
        (vec![average("a"), average("a")], "not unique"),
        (
            vec![average("Upper")],
            "first character must be a lowercase letter",
        ),
        (vec![query("a", vec![], "tm99")], "The value tm99"),
        (
            vec![average("a"); 501],
            "must not have a size greater than 500",
        ),
    ] {
        let request = client
            .get_metric_data()
            .set_metric_data_queries(Some(queries));
        let request = request.start_time(time(NOW - 60)).end_time(time(NOW));
        let error = request.send().await.unwrap_err().into_service_error();
        assert_eq!(error.code(), Some("ValidationError"), "{says}");
        let message = error.message().unwrap_or_default();
        assert!(message.contains(says), "{message}");
    }
}
