//! Who has which role in Grafana: the lists (`roster`, pure), who the people on them are
//! (`identity_center`), which roles must change (`plan`, pure), and changing them (`apply`).

pub(crate) mod apply;
pub(crate) mod identity_center;
pub(crate) mod plan;
pub(crate) mod roster;
