//! Identifies the GPU of a series by its labels, and numbers GPUs. One GPU may have several series.
//!
//! A GPU is published under its instance and index. Two exporters on one node may give the node two names;
//! the UUID shows that it is one GPU all the same ([`Fleet::aliases`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::dropped::DropReason;

/// dcgm-exporter's label for the GPU's index on its node.
const GPU_LABEL: &str = "gpu";
/// dcgm-exporter's label for the MIG instance on its GPU.
const MIG_LABEL: &str = "GPU_I_ID";
/// dcgm-exporter's label for the GPU's own identifier; a MIG instance has that of its GPU.
const UUID_LABEL: &str = "UUID";
/// Labels that come before those of the instance in [`Fleet::labels`].
const GPU_LABELS: [&str; 3] = [GPU_LABEL, MIG_LABEL, UUID_LABEL];
/// The scrape target, `host:port`.
const TARGET_LABEL: &str = "instance";

/// A GPU, or a MIG instance of one, by the CloudWatch dimensions it is published under.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Gpu {
    /// EC2 instance id, dimension `InstanceId`.
    pub(crate) instance_id: String,
    /// Index on the node, dimension `GPU`.
    pub(crate) gpu: String,
    /// MIG instance, dimension `GPUInstance`; empty for a whole GPU.
    pub(crate) gpu_instance: String,
}

/// Every GPU seen in a run, numbered in order of appearance.
#[derive(Debug)]
pub(crate) struct Fleet {
    labels: Vec<String>,
    is_publishable: fn(&str) -> bool,
    gpus: Vec<Arc<Gpu>>,
    numbers: HashMap<Arc<Gpu>, u32>,
    instances: HashMap<String, u32>,
    instance_of: Vec<u32>,
    /// By instance and index: the first number of each physical GPU.
    boards: HashMap<(u32, String), u32>,
    /// For each number, the first number of the same physical GPU.
    board_of: Vec<u32>,
    /// UUID of each number; empty if no series has one.
    uuids: Vec<Arc<str>>,
    /// The first number with each UUID and MIG instance, and the first one with each UUID.
    by_uuid: HashMap<(Arc<str>, String), u32>,
    board_by_uuid: HashMap<Arc<str>, u32>,
    /// Further numbers with the UUID and MIG instance of the first one.
    aliases: BTreeMap<u32, Vec<u32>>,
    scratch: Gpu,
    no_uuid: Arc<str>,
}

impl Fleet {
    /// An empty fleet. The first of `instance_id_labels` that a series has names its instance;
    /// `is_publishable` says whether a label's value may name something where metrics are published.
    pub(crate) fn new(instance_id_labels: &[String], is_publishable: fn(&str) -> bool) -> Self {
        let labels = GPU_LABELS
            .into_iter()
            .chain(instance_id_labels.iter().map(String::as_str))
            .map(str::to_owned)
            .collect();
        Self {
            labels,
            is_publishable,
            gpus: Vec::new(),
            numbers: HashMap::new(),
            instances: HashMap::new(),
            instance_of: Vec::new(),
            boards: HashMap::new(),
            board_of: Vec::new(),
            uuids: Vec::new(),
            by_uuid: HashMap::new(),
            board_by_uuid: HashMap::new(),
            aliases: BTreeMap::new(),
            scratch: Gpu::default(),
            no_uuid: "".into(),
        }
    }

    /// The labels that tell GPUs apart, in the order [`Fleet::identify`] takes their values.
    pub(crate) fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The number of the GPU that a series with these label values belongs to. An absent label is an empty
    /// value, as in Prometheus.
    ///
    /// # Errors
    /// Why no dimensions can be made of the labels.
    pub(crate) fn identify(&mut self, values: &[String]) -> Result<u32, DropReason> {
        let [gpu, mig, uuid, instances @ ..] = values else {
            return Err(DropReason::NoGpu);
        };
        if gpu.is_empty() {
            return Err(DropReason::NoGpu);
        }
        let (label, instance) = self.labels[GPU_LABELS.len()..]
            .iter()
            .zip(instances)
            .find(|(_, value)| !value.is_empty())
            .ok_or(DropReason::NoInstanceId)?;
        let instance = if label == TARGET_LABEL {
            without_port(instance)
        } else {
            instance
        };
        let mut names = [instance, gpu]
            .into_iter()
            .chain(Some(mig.as_str()).filter(|mig| !mig.is_empty()));
        if !names.all(self.is_publishable) {
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
        let number = self.number_of_scratch();
        if *self.uuids[number as usize] != **uuid {
            self.learn_uuid(number, uuid);
        }
        Ok(number)
    }

    /// Looks up before it allocates: each GPU appears once for every metric.
    fn number_of_scratch(&mut self) -> u32 {
        if let Some(number) = self.numbers.get(&self.scratch) {
            return *number;
        }
        let number = u32::try_from(self.gpus.len()).expect("BUG: over 4 billion GPUs");
        let gpu = Arc::new(self.scratch.clone());
        let instance = self.number_of_instance(&gpu.instance_id);
        self.instance_of.push(instance);
        let board = (instance, gpu.gpu.clone());
        self.board_of
            .push(*self.boards.entry(board).or_insert(number));
        self.uuids.push(Arc::clone(&self.no_uuid));
        self.gpus.push(Arc::clone(&gpu));
        self.numbers.insert(gpu, number);
        number
    }

    fn number_of_instance(&mut self, id: &str) -> u32 {
        if let Some(number) = self.instances.get(id) {
            return *number;
        }
        let number = self.instances.len() as u32;
        self.instances.insert(id.to_owned(), number);
        number
    }

    /// Notes the UUID of a GPU. If another GPU takes its place on the node within a range, both are
    /// published under the same name, and the first UUID stays.
    fn learn_uuid(&mut self, number: u32, uuid: &str) {
        let known = &mut self.uuids[number as usize];
        if uuid.is_empty() || !known.is_empty() {
            return;
        }
        let uuid: Arc<str> = uuid.into();
        known.clone_from(&uuid);
        let mig = self.gpus[number as usize].gpu_instance.clone();
        let named = (Arc::clone(&uuid), mig);
        let first = *self.by_uuid.entry(named).or_insert(number);
        let board = *self.board_by_uuid.entry(uuid).or_insert(number);
        // Two indices on one node are two GPUs, whatever UUID a simulator or a broken driver reports.
        if self.instance_of(first) != self.instance_of(number) {
            self.aliases.entry(first).or_default().push(number);
        }
        if self.instance_of(board) != self.instance_of(number) {
            self.board_of[number as usize] = self.board_of(board);
        }
    }

    /// All GPUs, by number.
    pub(crate) fn gpus(&self) -> impl Iterator<Item = &Gpu> {
        self.gpus.iter().map(|gpu| &**gpu)
    }

    /// The GPU of that number.
    pub(crate) fn gpu(&self, number: u32) -> &Gpu {
        &self.gpus[number as usize]
    }

    /// The number of the instance that GPU sits in.
    pub(crate) fn instance_of(&self, gpu: u32) -> u32 {
        self.instance_of[gpu as usize]
    }

    /// A number that all MIG instances and all names of one physical GPU share.
    pub(crate) fn board_of(&self, gpu: u32) -> u32 {
        self.board_of[gpu as usize]
    }

    /// UUID of the GPU; empty if no series has it.
    pub(crate) fn uuid(&self, gpu: u32) -> &str {
        &self.uuids[gpu as usize]
    }

    /// For each GPU with several names, all of them. The first is the one to publish it under; an EC2
    /// instance id comes before any other name.
    pub(crate) fn aliases(&self) -> impl Iterator<Item = Vec<u32>> {
        self.aliases.iter().map(|(first, others)| {
            let mut names: Vec<u32> = others.iter().copied().chain([*first]).collect();
            names.sort_by_key(|number| (!self.has_instance_id(*number), self.gpu(*number)));
            names
        })
    }

    /// Whether an EC2 instance id names the GPU. Two ids for one GPU at the same time contradict each
    /// other, and both are published: so no node can take over the GPUs of another one by exporting their
    /// UUIDs, where Prometheus sets the id from its target.
    pub(crate) fn has_instance_id(&self, gpu: u32) -> bool {
        let unique = self.gpu(gpu).instance_id.strip_prefix("i-");
        unique.is_some_and(|unique| {
            [8, 17].contains(&unique.len()) && unique.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    }
}

fn without_port(target: &str) -> &str {
    match target.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => target,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> Fleet {
        let labels = ["instance_id", "Hostname", "instance"].map(str::to_owned);
        Fleet::new(&labels, str::is_ascii)
    }

    /// Values of `gpu`, `GPU_I_ID` and the three labels of the instance.
    fn identify(fleet: &mut Fleet, values: [&str; 5]) -> Result<Gpu, DropReason> {
        let [gpu, mig, instances @ ..] = values;
        let number = number(fleet, [gpu, mig, ""], instances)?;
        Ok(fleet.gpu(number).clone())
    }

    fn number(
        fleet: &mut Fleet,
        of_gpu: [&str; 3],
        instances: [&str; 3],
    ) -> Result<u32, DropReason> {
        let values: Vec<String> = of_gpu
            .into_iter()
            .chain(instances)
            .map(str::to_owned)
            .collect();
        fleet.identify(&values)
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
        let rows = [
            (["", "", "i-1", "", ""], NoGpu),
            (["0", "", "", "", ""], NoInstanceId),
            (["0", "", "nœud-1", "", ""], UnpublishableLabel),
            (["é", "", "i-1", "", ""], UnpublishableLabel),
            (["0", "é", "i-1", "", ""], UnpublishableLabel),
        ];
        for (values, reason) in rows {
            assert_eq!(identify(&mut fleet, values), Err(reason), "{values:?}");
        }
    }

    #[test]
    fn a_gpu_keeps_its_number_and_its_instance() {
        let mut fleet = fleet();
        let mut number = |gpu, instances| number(&mut fleet, [gpu, "", ""], instances).unwrap();
        let a0 = number("0", ["i-a", "", ""]);
        let a1 = number("1", ["i-a", "", ""]);
        let b0 = number("0", ["i-b", "", ""]);
        assert_eq!(number("0", ["i-a", "other-host", ""]), a0);
        assert_eq!((a0, a1, b0), (0, 1, 2));
        assert_eq!(fleet.instance_of(a0), fleet.instance_of(a1));
        assert_ne!(fleet.instance_of(a0), fleet.instance_of(b0));
    }

    #[test]
    fn a_gpu_under_two_names_is_known_by_its_uuid() {
        let mut fleet = fleet();
        let mut number = |of_gpu, name| number(&mut fleet, of_gpu, ["", name, ""]).unwrap();
        let container = number(["0", "", "GPU-1"], "0a1b2c3d4e5f");
        let host = number(["0", "", "GPU-1"], "ip-10-0-0-1");
        let by_instance_id = number(["0", "", "GPU-1"], "i-0123456789abcdef0");
        let other = number(["1", "", "GPU-2"], "ip-10-0-0-1");
        let without_uuid = number(["2", "", ""], "ip-10-0-0-1");
        let slices = ["1", "2"].map(|mig| number(["3", mig, "GPU-3"], "ip-10-0-0-1"));
        let aliases: Vec<_> = fleet.aliases().collect();
        assert_eq!(aliases, [[by_instance_id, container, host]]);
        assert!(fleet.has_instance_id(by_instance_id) && !fleet.has_instance_id(host));
        let boards = [host, other, without_uuid, slices[0], slices[1]].map(|n| fleet.board_of(n));
        assert_eq!(
            boards,
            [container, other, without_uuid, slices[0], slices[0]]
        );
    }

    #[test]
    fn gpus_of_one_node_are_apart_even_with_one_uuid() {
        let mut fleet = fleet();
        let mut number = |gpu| number(&mut fleet, [gpu, "", "GPU-0"], ["i-a", "", ""]).unwrap();
        let numbers = ["0", "1"].map(&mut number);
        assert_eq!(fleet.aliases().count(), 0);
        assert_eq!(numbers.map(|number| fleet.board_of(number)), numbers);
    }

    #[test]
    fn a_gpu_put_in_another_s_place_keeps_the_name() {
        let mut fleet = fleet();
        let mut number = |uuid| number(&mut fleet, ["0", "", uuid], ["i-a", "", ""]).unwrap();
        assert_eq!(["", "GPU-1", "GPU-2", "GPU-1"].map(&mut number), [0; 4]);
        assert_eq!(fleet.aliases().count(), 0);
        assert_eq!(fleet.uuid(0), "GPU-1");
    }
}
