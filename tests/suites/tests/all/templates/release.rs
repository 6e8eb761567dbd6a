//! Releases on GitHub as a node finds them: real archives of programs that do next to nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::templates::{do_or_fail, place_program};

/// A release on GitHub that a script installs.
pub(crate) struct Release {
    pub(crate) script: &'static str,
    project: &'static str,
    /// The constant of the script that has its version.
    version: &'static str,
    /// The programs in it, and what they do.
    programs: &'static [(&'static str, &'static str)],
}

pub(crate) const RELEASES: [Release; 2] = [
    Release {
        script: "compute-node.sh",
        project: "node_exporter",
        version: "NODE_EXPORTER_VERSION",
        programs: &[(
            "node_exporter",
            "echo \"node_exporter, version $VERSION (branch: HEAD)\"",
        )],
    },
    Release {
        script: "head-node.sh",
        project: "prometheus",
        version: "VERSION",
        programs: &[
            ("prometheus", "true"),
            (
                "promtool",
                "echo \"promtool $*\" >>/world/calls; [[ \"$1 $2\" == \"check config\" && -s $3 ]]",
            ),
        ],
    },
];

impl Release {
    /// Puts an archive of it into a folder, as GitHub has it; gives the script with that archive's sums.
    pub(crate) fn publish(&self, github: &Path, script: &str) -> String {
        let version = constant(script, self.version).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("release");
        fs::create_dir(&inner).unwrap();
        for (program, does) in self.programs {
            let text = format!("#!/bin/bash\nVERSION={version}\n{does}\n");
            place_program(&inner.join(program), &text);
        }
        let archive = folder.path().join("archive");
        let mut tar = Command::new("tar");
        tar.arg("-czf").arg(&archive).arg("-C").arg(folder.path());
        do_or_fail(tar.arg("release"));
        let sum = Sha256::digest(fs::read(&archive).unwrap());
        let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut patched = script.to_owned();
        let releases = format!("prometheus/{}/releases/download/v{version}", self.project);
        let folder = github.join(releases);
        fs::create_dir_all(&folder).unwrap();
        for architecture in ["amd64", "arm64"] {
            let name = format!("{}-{version}.linux-{architecture}.tar.gz", self.project);
            fs::copy(&archive, folder.join(name)).unwrap();
            let pinned = constant(script, &format!("[{architecture}]")).unwrap();
            assert_eq!(pinned.len(), sum.len());
            patched = patched.replace(&pinned, &sum);
        }
        patched
    }
}

/// What a script sets a constant to.
pub(crate) fn constant(script: &str, name: &str) -> Option<String> {
    script.lines().find_map(|line| {
        let line = line.trim_start().trim_start_matches("readonly ");
        let value = line.strip_prefix(name)?.strip_prefix('=')?;
        Some(value.to_owned())
    })
}
