//! A GPU node as its dcgm-exporter labels it.

use std::{fmt::Write as _, time::SystemTime};

use super::field::{Field, Moment};
use super::release::Release;

/// A slice of a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigInstance {
    /// `1g.18gb`, say.
    pub profile: String,
    /// The label `GPU_I_ID`.
    pub id: u32,
}

/// Who is scraped, and what runs there.
#[derive(Clone, Debug)]
pub struct Node {
    /// Also tells the load of different nodes apart.
    pub index: u32,
    /// EC2's private name.
    pub hostname: String,
    /// EC2's id; becomes the label `instance_id` by relabelling.
    pub instance_id: String,
    /// Becomes the label `cluster` by relabelling.
    pub cluster: String,
    /// How many GPUs the node has.
    pub gpus: u32,
    /// Which dcgm-exporter runs.
    pub release: Release,
    /// Whether it shows the fields of this project's counters file, or its own default ones.
    pub shows_health: bool,
    /// GPUs that are sliced, by their index.
    pub mig: Vec<(u32, MigInstance)>,
    /// Slurm jobs on every GPU; the exporter shows one copy of each series per job
    /// (<https://github.com/NVIDIA/dcgm-exporter/blob/main/internal/pkg/transformation/hpc.go>).
    pub hpc_jobs: Vec<String>,
}

/// One series of a node, for whatever field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The label `gpu`.
    pub gpu: u32,
    /// Which slice of it.
    pub mig: Option<MigInstance>,
    /// The label `hpc_job`.
    pub hpc_job: Option<String>,
    /// All labels the exporter writes, as in its exposition.
    pub labels: String,
}

impl Node {
    /// A p5en.48xlarge of the cluster `p5en`: eight H200.
    pub fn p5en(index: u32) -> Self {
        Self {
            index,
            hostname: format!(
                "ip-10-0-{}-{}.us-east-2.compute.internal",
                index >> 8,
                index & 0xff
            ),
            instance_id: format!("i-0{index:016x}"),
            cluster: "p5en".to_owned(),
            gpus: 8,
            release: Release::V4_8_3,
            shows_health: false,
            mig: Vec::new(),
            hpc_jobs: Vec::new(),
        }
    }

    /// Every series the exporter shows for a field.
    pub fn series(&self) -> Vec<Series> {
        let mut all = Vec::new();
        for gpu in 0..self.gpus {
            for mig in self.instances(gpu) {
                for hpc_job in self.jobs() {
                    let labels = self.labels(gpu, mig.as_ref(), hpc_job.as_deref());
                    all.push(Series {
                        gpu,
                        mig: mig.clone(),
                        hpc_job,
                        labels,
                    });
                }
            }
        }
        all
    }

    /// What a series reads while a model is trained.
    pub fn load(&self, series: &Series, field: Field, time: SystemTime) -> f64 {
        let slice = series.mig.as_ref().map_or(0, |mig| mig.id);
        let seed = u64::from(self.index) << 20 | u64::from(slice);
        field.load(Moment::new(seed, series.gpu, time))
    }

    /// The labels of a series once Prometheus has scraped it with the relabelling of
    /// [`scrape_config`](super::scrape_config).
    pub fn stored_labels(&self, series: &Series) -> String {
        let Self {
            instance_id,
            cluster,
            ..
        } = self;
        let [high, low] = [self.index >> 8, self.index & 0xff];
        format!(
            "{},instance=\"10.0.{high}.{low}:9400\",job=\"dcgm\",instance_id=\"{instance_id}\",\
             cluster=\"{cluster}\"",
            series.labels
        )
    }

    fn instances(&self, gpu: u32) -> Vec<Option<MigInstance>> {
        let slices = self.mig.iter().filter(|(of, _)| *of == gpu);
        let slices: Vec<_> = slices.map(|(_, mig)| Some(mig.clone())).collect();
        if slices.is_empty() {
            vec![None]
        } else {
            slices
        }
    }

    fn jobs(&self) -> Vec<Option<String>> {
        match &self.hpc_jobs[..] {
            [] => vec![None],
            jobs => jobs.iter().cloned().map(Some).collect(),
        }
    }

    /// <https://github.com/NVIDIA/dcgm-exporter/blob/main/internal/pkg/rendermetrics/render_metrics.go>
    fn labels(&self, gpu: u32, mig: Option<&MigInstance>, hpc_job: Option<&str>) -> String {
        let uuid = format!("GPU-{:08x}-0000-4000-8000-{gpu:012x}", self.index);
        let bus = 0x53 + 0x11 * gpu;
        let mut labels = format!(
            "gpu=\"{gpu}\",UUID=\"{uuid}\",pci_bus_id=\"00000000:{bus:02X}:00.0\",\
             device=\"nvidia{gpu}\",modelName=\"NVIDIA H200\""
        );
        let mut add = |name: &str, value: &str| {
            write!(labels, ",{name}=\"{value}\"").expect("a string takes all that is written");
        };
        if let Some(mig) = mig {
            add("GPU_I_PROFILE", &mig.profile);
            add("GPU_I_ID", &mig.id.to_string());
        }
        add(self.release.hostname_label(), &self.hostname);
        add(self.release.driver_label(), "580.105.08");
        if let Some(job) = hpc_job {
            add("hpc_job", job);
        }
        labels
    }
}
