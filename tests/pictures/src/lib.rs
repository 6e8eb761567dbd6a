//! The dashboards as a person sees them: a page that draws them from their own JSON, its server, and
//! a browser to look at it.
//!
//! The page takes layout, titles, units, axes and queries from the JSON that is deployed, and asks
//! the sources that Grafana and CloudWatch would ask. uPlot is kept in `page/uplot` and not fetched:
//! npm is 400 Debian packages, and uPlot 54 kB.

#![allow(
    clippy::disallowed_methods,
    reason = "an edge as the testkit is: its hours end with those of the clock"
)]

mod aws;
mod browser;
mod page;
mod past;

pub use self::browser::{Browser, Theme};
pub use self::page::{CLOUDWATCH, Dashboard, Page, Sources};
pub use self::past::Past;
