//! The sources of packages that compute-node.sh writes, and the way it asks for packages, given to the
//! real dnf and the real apt-get: what is signed with the right key is installed, nothing else is. The
//! sources are moved to folders of this machine, and a key of which the test has the secret half takes
//! the place of the others.

use std::fs;
use std::path::Path;
use std::process::Command;

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::templates::node::{Node, RHEL_8, System, UBUNTU_2204, as_root, key};
use crate::templates::{do_or_fail, run};

const DOCKER: [&str; 3] = ["containerd.io", "docker-ce", "docker-ce-cli"];
const TOOLKIT: [&str; 4] = [
    "libnvidia-container-tools",
    "libnvidia-container1",
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
];
const TOOLKIT_VERSION: &str = "1.19.1";

const DOCKER_KEY: &str = "etc/pki/rpm-gpg/RPM-GPG-KEY-docker-ce";
const TOOLKIT_KEY: &str = "etc/pki/rpm-gpg/RPM-GPG-KEY-nvidia-container-toolkit";

#[test]
fn dnf_installs_what_is_signed_with_the_keys_and_nothing_else() {
    let signer = Signer::new();
    let node = set_up(&RHEL_8);
    let docker = DOCKER.map(|name| format!("{name}-26.1.3-1"));
    let toolkit = TOOLKIT.map(|name| format!("{name}-{TOOLKIT_VERSION}-1"));
    let repositories = [
        ("docker-ce", rpm_repository(&signer, &DOCKER, "26.1.3")),
        (
            "nvidia-container-toolkit",
            rpm_repository(&signer, &TOOLKIT, TOOLKIT_VERSION),
        ),
    ];
    for (file, repository) in &repositories {
        let file = format!("etc/yum.repos.d/{file}.repo");
        let moved = move_to(repository.path(), &node.read(&file).unwrap(), &node);
        node.write(&file, &moved);
    }

    for (docker_key, toolkit_key, expected) in [
        (
            &signer.public,
            &signer.public,
            [&docker[..], &toolkit].concat(),
        ),
        (&signer.public, &key("other"), docker.to_vec()),
        (&key("other"), &signer.public, toolkit.to_vec()),
    ] {
        node.write(DOCKER_KEY, docker_key);
        node.write(TOOLKIT_KEY, toolkit_key);
        assert_eq!(installed_by_dnf(&node), expected);
    }
}

/// What a file says of a repository, with that folder for its address and the key that is on the node.
fn move_to(folder: &Path, file: &str, node: &Node) -> String {
    let folder = folder.display();
    let lines = file.lines().map(|line| match line.split_once('=') {
        Some(("baseurl", _)) => format!("baseurl=file://{folder}/$basearch\n"),
        Some(("gpgkey", key)) => {
            let key = node.path(key.strip_prefix("file:///").unwrap());
            format!("gpgkey=file://{}\n", key.display())
        }
        _ => format!("{line}\n"),
    });
    lines.collect()
}

/// What the real dnf installs into an empty folder when it is asked as the node's was.
fn installed_by_dnf(node: &Node) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    let config = tempfile::NamedTempFile::new().unwrap();
    for words in asked(node, "dnf") {
        let mut dnf = as_root("dnf");
        dnf.args(["--releasever", "8", "--config"])
            .arg(config.path());
        dnf.arg("--installroot").arg(root.path());
        dnf.arg(option("--setopt=reposdir=", &node.path("etc/yum.repos.d")));
        dnf.arg(option("--setopt=cachedir=", &root.path().join("cache")));
        let (_, printed) = run(dnf.args(words));
        let is_understood = !printed.contains("usage: ") && !printed.contains("Config error: ");
        assert!(is_understood, "{printed}");
    }
    let mut rpm = as_root("rpm");
    rpm.arg("--root").arg(root.path());
    let (listed, printed) =
        run(rpm.args(["-qa", "--queryformat", "%{NAME}-%{VERSION}-%{RELEASE}\\n"]));
    assert!(listed, "{printed}");
    let is_package = |name: &&str| !name.starts_with("gpg-pubkey-");
    let mut names: Vec<_> = printed
        .lines()
        .filter(is_package)
        .map(str::to_owned)
        .collect();
    names.sort_unstable();
    names
}

/// Signed packages, in a repository that is signed itself.
fn rpm_repository(signer: &Signer, names: &[&str], version: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    // dnf fills in the architecture.
    let (_, architecture) = run(Command::new("rpm").args(["--eval", "%{_arch}"]));
    let repository = folder.path().join(architecture.trim());
    let packages = names.iter().map(|name| {
        format!("%package -n {name}\nSummary: tests\n%description -n {name}\n%files -n {name}\n")
    });
    let spec = format!(
        "Name: tests\nVersion: {version}\nRelease: 1\nSummary: tests\nLicense: none\nBuildArch: noarch\n\
         %description\n{}",
        packages.collect::<String>()
    );
    let build = tempfile::tempdir().unwrap();
    let file = build.path().join("tests.spec");
    fs::write(&file, spec).unwrap();
    let mut rpmbuild = Command::new("rpmbuild");
    rpmbuild.args(["-bb", "--define"]);
    rpmbuild.arg(option("_topdir ", build.path()));
    rpmbuild
        .arg("--define")
        .arg(option("_rpmdir ", &repository));
    do_or_fail(
        rpmbuild
            .args(["--define", "_rpmfilename %%{NAME}.rpm"])
            .arg(&file),
    );

    let mut rpmsign = signer.command("rpmsign");
    rpmsign.args(["--addsign", "--define", "__gpg /usr/bin/gpg"]);
    rpmsign.args(["--define", "_gpg_name tests"]);
    let packages = fs::read_dir(&repository).unwrap();
    do_or_fail(rpmsign.args(packages.map(|entry| entry.unwrap().path())));
    do_or_fail(Command::new("createrepo_c").arg(&repository));
    signer.sign(
        &["--armor", "--detach-sign"],
        &repository.join("repodata/repomd.xml"),
    );
    folder
}

#[test]
fn apt_get_installs_what_is_signed_with_the_key_and_nothing_else() {
    let signer = Signer::new();
    let repository = deb_repository(&signer);
    let node = set_up(&UBUNTU_2204);
    let list = "etc/apt/sources.list.d/nvidia-container-toolkit.list";
    let saved = "/usr/share/keyrings/nvidia-container-toolkit.asc";
    let written = node.read(list).unwrap();
    let address = "https://nvidia.github.io/libnvidia-container/stable/deb";
    assert_eq!(
        written,
        format!("deb [signed-by={saved}] {address}/$(ARCH) /\n")
    );
    let key_file = node.path(saved.trim_start_matches('/'));
    let moved = written
        .replace(saved, &key_file.display().to_string())
        .replace(address, &format!("file:{}", repository.path().display()));
    node.write(list, &moved);

    let expected = TOOLKIT.map(|name| format!("{name} {TOOLKIT_VERSION}-1"));
    fs::write(&key_file, &signer.public).unwrap();
    assert_eq!(installed_by_apt(&node, list), expected);
    fs::write(&key_file, key("other")).unwrap();
    assert_eq!(installed_by_apt(&node, list), [""; 0]);
}

/// What the real apt-get would install when it is asked as the node's was.
fn installed_by_apt(node: &Node, list: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().display();
    for name in ["lists/partial", "archives/partial"] {
        fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("status"), "").unwrap();
    let config = folder.path().join("apt.conf");
    let list = node.path(list);
    let settings = format!(
        r#"Dir::Etc::SourceList "{}";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "{state}/lists";
Dir::State::Status "{state}/status";
Dir::Cache "{state}";
Acquire::Languages "none";
APT::Architecture "amd64";
APT::Get::Simulate "true";
APT::Sandbox::User "";
"#,
        list.display()
    );
    fs::write(&config, settings).unwrap();
    let mut installed = Vec::new();
    for words in asked(node, "apt-get") {
        // That one is Ubuntu's.
        if words.contains(&"docker.io".to_owned()) {
            continue;
        }
        let mut apt = Command::new("apt-get");
        let (_, printed) = run(apt.env("APT_CONFIG", &config).args(words));
        assert!(!printed.contains("is not understood"), "{printed}");
        let lines = printed
            .lines()
            .filter_map(|line| line.strip_prefix("Inst "));
        let package = |line: &str| line.split(" stable").next().unwrap().replace('(', "");
        installed.extend(lines.map(package));
    }
    installed.sort_unstable();
    installed
}

/// Signed lists; the packages themselves are not asked for.
fn deb_repository(signer: &Signer) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    // apt fills in the architecture.
    let repository = folder.path().join("amd64");
    fs::create_dir(&repository).unwrap();
    let packages = TOOLKIT.map(|name| {
        format!("Package: {name}\nVersion: {TOOLKIT_VERSION}-1\nArchitecture: all\nMaintainer: tests\nFilename: {name}.deb\nSize: 1\nDescription: tests\n\n")
    });
    let packages = packages.concat();
    let sum = Sha256::digest(&packages);
    let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    let release = format!(
        "Suite: stable\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n {sum} {} Packages\n",
        packages.len()
    );
    fs::write(repository.join("Packages"), packages).unwrap();
    let file = repository.join("Release");
    fs::write(&file, release).unwrap();
    let signed = repository.join("InRelease");
    signer.sign(
        &["--clearsign", "--output", signed.to_str().unwrap()],
        &file,
    );
    folder
}

/// A node that has set up its exporters, and so its sources.
fn set_up(system: &System) -> Node {
    let node = Node::new(system, "compute-node.sh");
    node.add_gpu();
    node.run(&[]).assert_success();
    node
}

/// What a program of the node was called with.
fn asked(node: &Node, program: &str) -> Vec<Vec<String>> {
    let calls = node.calls();
    let calls = calls.iter().filter_map(|call| call.strip_prefix(program));
    let words = calls.map(|call| call.split_whitespace().map(str::to_owned).collect());
    let words: Vec<Vec<String>> = words.collect();
    assert!(words.len() > 1, "{words:?}");
    words
}

/// A key and its secret half.
struct Signer {
    home: TempDir,
    public: String,
}

impl Signer {
    fn new() -> Self {
        let mut signer = Self {
            home: tempfile::tempdir().unwrap(),
            public: String::new(),
        };
        let mut generate = signer.command("gpg");
        generate.args(["--batch", "--passphrase", "", "--quick-generate-key"]);
        do_or_fail(generate.args(["tests", "rsa2048", "sign", "never"]));
        let output = signer.command("gpg").args(["--armor", "--export"]).output();
        signer.public = String::from_utf8(output.unwrap().stdout).unwrap();
        signer
    }

    fn sign(&self, options: &[&str], file: &Path) {
        do_or_fail(self.command("gpg").arg("--batch").args(options).arg(file));
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("GNUPGHOME", self.home.path());
        command
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        // gpg has started an agent.
        run(self.command("gpgconf").args(["--kill", "all"]));
    }
}

fn option(name: &str, path: &Path) -> String {
    format!("{name}{}", path.display())
}
