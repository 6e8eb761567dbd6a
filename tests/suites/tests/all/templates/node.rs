//! A node of one operating system: a folder that a set-up script takes for the root of the file
//! system (chroot). bash, coreutils, grep, tar and gpg in it are this machine's own. curl, systemctl,
//! docker and the package managers are the scripts of `doubles/`, as strict as the versions of that
//! system; what they know of the world lies in `/world`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

use tempfile::TempDir;
use testkit::project::repository;

use crate::templates::release::{RELEASES, constant};
use crate::templates::{do_or_fail, place_program, run};

/// An operating system of ParallelCluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System {
    /// Its name in `Image/Os`.
    pub(crate) os: &'static str,
    /// `ID`, `VERSION_ID` and `PLATFORM_ID` of its `/etc/os-release`.
    release: [&'static str; 3],
    curl: &'static str,
    /// The package that brings docker.
    pub(crate) docker: &'static str,
}

pub(crate) const SYSTEMS: [System; 7] = [
    System::new("ubuntu2204", ["ubuntu", "22.04", ""], "7.81.0", "docker.io"),
    System::new("ubuntu2404", ["ubuntu", "24.04", ""], "8.5.0", "docker.io"),
    System::new(
        "alinux2023",
        ["amzn", "2023", "platform:al2023"],
        "8.5.0",
        "docker",
    ),
    System::new(
        "rhel8",
        ["rhel", "8.10", "platform:el8"],
        "7.61.1",
        "docker-ce",
    ),
    System::new(
        "rocky8",
        ["rocky", "8.10", "platform:el8"],
        "7.61.1",
        "docker-ce",
    ),
    System::new(
        "rhel9",
        ["rhel", "9.6", "platform:el9"],
        "7.76.1",
        "docker-ce",
    ),
    System::new(
        "rocky9",
        ["rocky", "9.6", "platform:el9"],
        "7.76.1",
        "docker-ce",
    ),
];

pub(crate) const UBUNTU_2204: System = SYSTEMS[0];
/// The system of the oldest tools.
pub(crate) const RHEL_8: System = SYSTEMS[3];

impl System {
    const fn new(
        os: &'static str,
        release: [&'static str; 3],
        curl: &'static str,
        docker: &'static str,
    ) -> Self {
        Self {
            os,
            release,
            curl,
            docker,
        }
    }

    pub(crate) fn has_apt(&self) -> bool {
        self.release[0] == "ubuntu"
    }
}

/// Programs of this machine that the node has as well.
const PROGRAMS: [&str; 28] = [
    "bash",
    "cat",
    "chmod",
    "cp",
    "cut",
    "env",
    "gpg",
    "grep",
    "gzip",
    "head",
    "install",
    "ls",
    "mkdir",
    "mktemp",
    "mv",
    "rm",
    "sed",
    "sha256sum",
    "sort",
    "tail",
    "tar",
    "timeout",
    "touch",
    "tr",
    "true",
    "uname",
    "wc",
    "tee",
];

/// What is checked of a key in a script, and the key of `doubles/keys` that stands in for it.
const KEYS: [(&str, &str); 2] = [
    ("DOCKER_KEY", "DF7973D60A4336D7431C6ADA8BA666FBA33F2DAA"),
    (
        "CONTAINER_TOOLKIT_KEY",
        "E8B8D6D8465F572A138EC4981B808F538F3A6629",
    ),
];

/// Directives of units that systemd 239 has, by its manual (systemd.directives).
const SYSTEMD_239: [&str; 23] = [
    "After",
    "CapabilityBoundingSet",
    "Description",
    "DynamicUser",
    "Environment",
    "ExecReload",
    "ExecStart",
    "ExecStartPre",
    "ExecStop",
    "NoNewPrivileges",
    "PrivateDevices",
    "PrivateTmp",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectKernelTunables",
    "ProtectSystem",
    "Requires",
    "Restart",
    "RestartSec",
    "StartLimitIntervalSec",
    "StateDirectory",
    "WantedBy",
    "Wants",
];

const CHROOT: &str = "/usr/sbin/chroot";

/// The root folder of a node; dropping it removes it.
pub(crate) struct Node {
    root: TempDir,
    script: &'static str,
}

/// Tries something on every system, all at once: it is mostly waiting for processes.
pub(crate) fn on_every_system(attempt: impl Fn(&System) + Sync) {
    thread::scope(|scope| {
        for system in &SYSTEMS {
            let attempt = &attempt;
            scope.spawn(move || attempt(system));
        }
    });
}

/// How a script ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The one line that says what is missing, on a node that is kept for all that.
    pub(crate) fn complaint(&self) -> &str {
        // Standard error is lost.
        assert!(self.success && self.stderr.is_empty(), "{self:?}");
        let is_complaint = |line: &&str| line.contains("Mend that, then run as root: ");
        let complaints: Vec<_> = self.stdout.lines().filter(is_complaint).collect();
        let [complaint] = complaints[..] else {
            panic!("{self:?}")
        };
        complaint
    }

    pub(crate) fn assert_success(&self) {
        let complains = self.stdout.contains("Mend that");
        assert!(self.success && !complains, "{self:?}");
    }
}

impl Node {
    /// A node of a cluster, with the internet and all that the script looks for there.
    pub(crate) fn new(system: &System, script: &'static str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let node = Self { root, script };
        for folder in ["bin", "sbin", "lib", "lib64"] {
            fs::create_dir_all(node.path("usr").join(folder)).unwrap();
            symlink(Path::new("usr").join(folder), node.path(folder)).unwrap();
        }
        for folder in ["tmp", "dev", "opt", "usr/local/bin", "etc/systemd/system"] {
            fs::create_dir_all(node.path(folder)).unwrap();
        }
        let programs = files_of_programs();
        let mut cp = Command::new("cp");
        do_or_fail(cp.arg("--parents").args(programs).arg(node.root.path()));
        symlink("true", node.path("usr/bin/kill")).unwrap();
        fs::create_dir(node.path("world")).unwrap();
        let mut cp = Command::new("cp");
        do_or_fail(
            cp.arg("--recursive")
                .arg(doubles(""))
                .arg(node.path("world")),
        );
        node.set_up_system(system);
        node.set_up_internet();
        node.write("etc/parallelcluster/cfnconfig", "");
        node
    }

    fn set_up_system(&self, system: &System) {
        let [id, version, platform] = system.release;
        let release = format!(
            "NAME=\"{id}\"\nID={id}\nVERSION_ID=\"{version}\"\nPLATFORM_ID=\"{platform}\"\n"
        );
        self.write("etc/os-release", &release);
        let (manager, sources) = if system.has_apt() {
            ("apt-get", "etc/apt/sources.list.d")
        } else {
            ("dnf", "etc/yum.repos.d")
        };
        fs::create_dir_all(self.path(sources)).unwrap();
        for double in [
            "curl",
            "date",
            "journalctl",
            "logger",
            "sleep",
            "systemctl",
            "nvidia-smi",
            manager,
        ] {
            self.add_double(double, double);
        }
        self.write("world/curl-version", system.curl);
        let distribution = if system.docker == "docker-ce" {
            ""
        } else {
            system.docker
        };
        self.write("world/distribution", distribution);
    }

    fn set_up_internet(&self) {
        self.write("world/internet", "");
        for (url, key) in [
            ("download.docker.com/linux/rhel/gpg", "docker"),
            ("nvidia.github.io/libnvidia-container/gpgkey", "nvidia"),
        ] {
            self.write(&format!("world/served/{url}"), &self::key(key));
        }
        let script = repository("infra/parallelcluster").join(self.script);
        let mut script = fs::read_to_string(script).unwrap();
        for release in &RELEASES {
            if release.script == self.script {
                script = release.publish(&self.path("world/served/github.com"), &script);
            }
        }
        for (name, fingerprint) in KEYS {
            if let Some(pinned) = constant(&script, name) {
                script = script.replace(&pinned, fingerprint);
            }
        }
        place_program(&self.path(self.script), &script);
    }

    /// Replaces all that GitHub serves.
    pub(crate) fn spoil_releases(&self) {
        spoil(&self.path("world/served/github.com"));
    }

    /// The node is outside of ParallelCluster.
    pub(crate) fn leave_cluster(&self) {
        self.remove("etc/parallelcluster");
    }

    /// The node has a GPU on its bus; the driver makes its device file.
    pub(crate) fn add_gpu(&self) {
        self.write("sys/bus/pci/devices/0000:00:1e.0/vendor", "0x10de\n");
    }

    /// A program of the node is one of `doubles/`.
    pub(crate) fn add_double(&self, program: &str, double: &str) {
        let path = self.path("usr/bin").join(program);
        symlink(Path::new("/world/doubles").join(double), path).unwrap();
    }

    /// Runs the script as cloud-init does: without HOME, with a short PATH.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.forget_calls();
        let script = format!("/{}", self.script);
        let mut words = vec!["env", "--ignore-environment", "PATH=/usr/bin:/bin", &script];
        words.extend(arguments);
        self.command(&words)
    }

    /// Runs a program of the node.
    pub(crate) fn command(&self, words: &[&str]) -> Ended {
        let mut command = as_root(CHROOT);
        let output = command.arg(self.root.path()).args(words).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended {
            success: output.status.success(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// The calls of doubles since the script was started last.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = self.read("world/calls").unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    fn forget_calls(&self) {
        self.remove("world/calls");
    }

    /// A unit is one that systemd takes without a word, also that of RHEL 8.
    pub(crate) fn assert_valid_unit(&self, name: &str) {
        for target in [
            "basic",
            "multi-user",
            "network-online",
            "shutdown",
            "sysinit",
        ] {
            let unit = format!("usr/lib/systemd/system/{target}.target");
            self.write(&unit, "[Unit]\nDescription=a target\n");
        }
        let mut verify = Command::new("systemd-analyze");
        verify
            .args(["verify", "--man=no"])
            .arg("--root")
            .arg(self.root.path());
        let (valid, printed) = run(verify.arg(format!("{name}.service")));
        assert!(valid && printed.is_empty(), "{printed}");

        let unit = self.read(&format!("etc/systemd/system/{name}.service"));
        for line in unit.unwrap().lines() {
            // Not a section, and not the second line of a command.
            let Some((directive, _)) = line.split_once('=').filter(|_| !line.starts_with(' '))
            else {
                continue;
            };
            assert!(SYSTEMD_239.contains(&directive), "{name}: {directive}");
        }
    }

    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(path)
    }

    pub(crate) fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else if path.is_symlink() || path.exists() {
            fs::remove_file(path).unwrap();
        }
    }
}

fn doubles(name: &str) -> PathBuf {
    repository("tests/suites/tests/all/templates/doubles").join(name)
}

/// A public key of the tests.
pub(crate) fn key(name: &str) -> String {
    fs::read_to_string(doubles("keys").join(name).with_extension("asc")).unwrap()
}

/// Writes something else into every file of a folder.
fn spoil(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            spoil(&path);
        } else {
            fs::write(path, "something else").unwrap();
        }
    }
}

/// The programs of this machine and the libraries they load.
fn files_of_programs() -> &'static BTreeSet<PathBuf> {
    static FILES: OnceLock<BTreeSet<PathBuf>> = OnceLock::new();
    FILES.get_or_init(|| {
        let programs = PROGRAMS.map(|name| Path::new("/usr/bin").join(name));
        let (found, printed) = run(Command::new("ldd").args(&programs));
        assert!(found, "{printed}");
        let words = printed.split_whitespace();
        let is_library = |word: &&str| word.starts_with("/lib") || word.starts_with("/usr/lib");
        let libraries = words.filter(is_library);
        libraries.map(PathBuf::from).chain(programs).collect()
    })
}

/// A program that needs root; where the user is not, it is that of a namespace of its own.
pub(crate) fn as_root(program: &str) -> Command {
    static IS_ROOT: OnceLock<bool> = OnceLock::new();
    let is_root = IS_ROOT.get_or_init(|| {
        let can_chroot = |command: &mut Command| run(command.args(["/", "/bin/true"])).0;
        let is_root = can_chroot(&mut Command::new(CHROOT));
        assert!(
            is_root || can_chroot(in_namespace().arg(CHROOT)),
            "neither root nor user namespaces: run as root, or allow them to all \
             (sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0)"
        );
        is_root
    });
    if *is_root {
        return Command::new(program);
    }
    let mut command = in_namespace();
    command.arg(program);
    command
}

fn in_namespace() -> Command {
    let mut command = Command::new("unshare");
    command.arg("--map-root-user");
    command
}
