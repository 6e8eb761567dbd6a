//! Who the GPUs are: from a series' labels to a numbered GPU, each known once however many series
//! name it.

use std::collections::HashMap;

use crate::sample::DropReason;

/// dcgm-exporter's label for the GPU's index on its node.
const GPU_LABEL: &str = "gpu";
/// dcgm-exporter's label for the MIG instance on its GPU.
const MIG_LABEL: &str = "GPU_I_ID";
/// The scrape target, `host:port`.
const TARGET_LABEL: &str = "instance";

/// A GPU, or a MIG instance of one, by the CloudWatch dimensions it is published under.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gpu {
    /// EC2 instance id, dimension `InstanceId`.
    pub instance_id: String,
    /// Index on the node, dimension `GPU`.
    pub gpu: String,
    /// MIG instance, dimension `GPUInstance`; empty for a whole GPU.
    pub gpu_instance: String,
}

/// Every GPU seen in a run, numbered in order of appearance.
#[derive(Debug)]
pub struct Fleet {
    labels: Vec<String>,
    gpus: Vec<Gpu>,
    numbers: HashMap<Gpu, u32>,
    instances: HashMap<String, u32>,
    instance_of: Vec<u32>,
    scratch: Gpu,
}

impl Fleet {
    /// A fleet of none yet, whose instances are named by the first of `instance_id_labels` that a
    /// series bears.
    pub fn new(instance_id_labels: &[String]) -> Self {
        let labels = [GPU_LABEL, MIG_LABEL]
            .into_iter()
            .chain(instance_id_labels.iter().map(String::as_str))
            .map(str::to_owned)
            .collect();
        Self {
            labels,
            gpus: Vec::new(),
            numbers: HashMap::new(),
            instances: HashMap::new(),
            instance_of: Vec::new(),
            scratch: Gpu::default(),
        }
    }

    /// The labels that tell GPUs apart, in the order [`Fleet::identify`] takes their values.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The number of the GPU that a series with these label values is of; an absent label is an
    /// empty value, as Prometheus has it.
    ///
    /// # Errors
    /// Why no dimensions can be made of the labels.
    pub fn identify(&mut self, values: &[String]) -> Result<u32, DropReason> {
        let [gpu, mig, instances @ ..] = values else {
            return Err(DropReason::NoGpu);
        };
        if gpu.is_empty() {
            return Err(DropReason::NoGpu);
        }
        let (label, instance) = self.labels[2..]
            .iter()
            .zip(instances)
            .find(|(_, value)| !value.is_empty())
            .ok_or(DropReason::NoInstanceId)?;
        let instance = if label == TARGET_LABEL {
            without_port(instance)
        } else {
            instance
        };
        let publishable = is_dimension_value(instance)
            && is_dimension_value(gpu)
            && (mig.is_empty() || is_dimension_value(mig));
        if !publishable {
            return Err(DropReason::UnpublishableLabel);
        }
        for (part, value) in [
            (&mut self.scratch.instance_id, instance),
            (&mut self.scratch.gpu, gpu.as_str()),
            (&mut self.scratch.gpu_instance, mig.as_str()),
        ] {
            part.clear();
            part.push_str(value);
        }
        Ok(self.number_of_scratch())
    }

    /// Looks up before it allocates: each GPU comes by once for every field.
    fn number_of_scratch(&mut self) -> u32 {
        if let Some(number) = self.numbers.get(&self.scratch) {
            return *number;
        }
        let number = u32::try_from(self.gpus.len()).expect("BUG: over 4 billion GPUs");
        let instances = self.instances.len() as u32;
        let instance = *self
            .instances
            .entry(self.scratch.instance_id.clone())
            .or_insert(instances);
        self.instance_of.push(instance);
        self.gpus.push(self.scratch.clone());
        self.numbers.insert(self.scratch.clone(), number);
        number
    }

    /// The GPU of that number.
    pub fn gpu(&self, number: u32) -> &Gpu {
        &self.gpus[number as usize]
    }

    /// The number of the instance that GPU sits in.
    pub fn instance_of(&self, gpu: u32) -> u32 {
        self.instance_of[gpu as usize]
    }
}

fn without_port(target: &str) -> &str {
    match target.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => target,
    }
}

/// 1 to 1,024 ASCII characters, no control character, not all blank.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Dimension.html>
fn is_dimension_value(value: &str) -> bool {
    value.len() <= 1024
        && value
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && value.bytes().any(|byte| byte != b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> Fleet {
        Fleet::new(&["instance_id", "Hostname", "instance"].map(str::to_owned))
    }

    fn identify(fleet: &mut Fleet, values: [&str; 5]) -> Result<Gpu, DropReason> {
        let number = fleet.identify(&values.map(str::to_owned))?;
        Ok(fleet.gpu(number).clone())
    }

    fn gpu(instance_id: &str, gpu: &str, gpu_instance: &str) -> Gpu {
        Gpu {
            instance_id: instance_id.into(),
            gpu: gpu.into(),
            gpu_instance: gpu_instance.into(),
        }
    }

    #[test]
    fn the_first_label_present_names_the_instance() {
        let mut fleet = fleet();
        let rows = [
            (
                ["0", "", "i-1", "ip-10-0-0-1", "10.0.0.1:9400"],
                gpu("i-1", "0", ""),
            ),
            (
                ["0", "", "", "ip-10-0-0-1", "10.0.0.1:9400"],
                gpu("ip-10-0-0-1", "0", ""),
            ),
            (["0", "", "", "", "10.0.0.1:9400"], gpu("10.0.0.1", "0", "")),
            (["0", "", "", "", "[::1]:9400"], gpu("[::1]", "0", "")),
            (["0", "", "", "a:1", ""], gpu("a:1", "0", "")),
            (["3", "7", "i-1", "", ""], gpu("i-1", "3", "7")),
        ];
        for (values, expected) in rows {
            assert_eq!(identify(&mut fleet, values), Ok(expected), "{values:?}");
        }
    }

    #[test]
    fn labels_that_make_no_dimensions_are_told_apart() {
        use DropReason::{NoGpu, NoInstanceId, UnpublishableLabel};
        let mut fleet = fleet();
        let long = "x".repeat(1_025);
        let rows = [
            (["", "", "i-1", "", ""], NoGpu),
            (["0", "", "", "", ""], NoInstanceId),
            (["0", "", &long, "", ""], UnpublishableLabel),
            (["0", "", "nœud-1", "", ""], UnpublishableLabel),
            (["0", "", " ", "", ""], UnpublishableLabel),
            (
                ["0", "", "i-1\n2026 ERROR forged line", "", ""],
                UnpublishableLabel,
            ),
            (["0\u{7f}", "", "i-1", "", ""], UnpublishableLabel),
            (["0", "é", "i-1", "", ""], UnpublishableLabel),
        ];
        for (values, reason) in rows {
            assert_eq!(identify(&mut fleet, values), Err(reason), "{values:?}");
        }
        assert!(identify(&mut fleet, ["0", "", &"x".repeat(1_024), "", ""]).is_ok());
    }

    #[test]
    fn a_gpu_keeps_its_number_and_its_instance() {
        let mut fleet = fleet();
        let mut number = |values: [&str; 5]| fleet.identify(&values.map(str::to_owned)).unwrap();
        let a0 = number(["0", "", "i-a", "", ""]);
        let a1 = number(["1", "", "i-a", "", ""]);
        let b0 = number(["0", "", "i-b", "", ""]);
        assert_eq!(number(["0", "", "i-a", "other-host", ""]), a0);
        assert_eq!((a0, a1, b0), (0, 1, 2));
        assert_eq!(fleet.instance_of(a0), fleet.instance_of(a1));
        assert_ne!(fleet.instance_of(a0), fleet.instance_of(b0));
    }
}
