//! The labels of a GPU's points.

use super::protobuf::{field_len, message, text};
use crate::gpu::identity::{Fleet, Gpu};

/// The labels that all points of a GPU have. A period has dozens of points for each, so they are written once.
#[derive(Clone, Debug)]
pub(crate) struct Labels<'r> {
    /// The GPU or MIG instance.
    pub(crate) gpu: &'r Gpu,
    /// As OTLP's attributes of a data point.
    pub(crate) encoded: Vec<u8>,
    /// Bytes of all names and values.
    pub(crate) text_len: usize,
}

impl<'r> Labels<'r> {
    /// Those of all GPUs, by the number in the fleet.
    pub(crate) fn of_fleet(cluster: &str, fleet: &'r Fleet) -> Vec<Self> {
        fleet.gpus().map(|gpu| Self::new(cluster, gpu)).collect()
    }

    /// Those of one GPU.
    pub(crate) fn new(cluster: &str, gpu: &'r Gpu) -> Self {
        let mut encoded = Vec::new();
        let mut text_len = 0;
        for (name, value) in labels(cluster, gpu) {
            let any_value = field_len(value.len());
            message(
                &mut encoded,
                7,
                field_len(name.len()) + field_len(any_value),
            );
            text(&mut encoded, 1, name);
            message(&mut encoded, 2, any_value);
            text(&mut encoded, 1, value);
            text_len += name.len() + value.len();
        }
        Self {
            gpu,
            encoded,
            text_len,
        }
    }
}

/// Name and value of each label.
pub(super) fn labels<'r>(
    cluster: &'r str,
    gpu: &'r Gpu,
) -> impl Iterator<Item = (&'static str, &'r str)> {
    let Gpu {
        instance_id,
        gpu,
        gpu_instance,
    } = gpu;
    [
        ("cluster", cluster),
        ("instance_id", instance_id),
        ("gpu", gpu),
        ("GPU_I_ID", gpu_instance),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn gpu(instance_id: &str, gpu: &str, gpu_instance: &str) -> Gpu {
        Gpu {
            instance_id: instance_id.to_owned(),
            gpu: gpu.to_owned(),
            gpu_instance: gpu_instance.to_owned(),
        }
    }

    #[test]
    fn a_gpu_has_the_labels_that_it_has_values_for() {
        let whole = gpu("i-0123456789abcdef0", "7", "");
        let expected = [
            ("cluster", "p5en"),
            ("instance_id", "i-0123456789abcdef0"),
            ("gpu", "7"),
        ];
        assert_eq!(labels("p5en", &whole).collect::<Vec<_>>(), expected);
        assert_eq!(Labels::new("p5en", &whole).text_len, 11 + 30 + 4);
        let mig = gpu("i-0", "7", "3");
        assert_eq!(labels("p5en", &mig).last(), Some(("GPU_I_ID", "3")));
    }
}
