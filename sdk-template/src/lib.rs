//! `acme-dpi`: tells what IPv4 packets carry, counts it, and drops a class if it is told to.
//!
//! Here is the plugin itself; each thing that it brings has a file.
#![deny(unsafe_code)] // `forbid` does not work: the SDK's macros reopen it for their records, E0453.

pub mod acme_dpi_classify;
pub mod class;
pub mod cli;
pub mod config;
pub mod news;
pub mod rates;
pub mod totals;

use std::sync::Arc;

use plugin_api::{Config, Error, Host, Plugin, declare_plugin, export_plugin};

use crate::{config::Settings, news::News, rates::Rates, totals::Totals};

/// What the node's instances, the command, the timer and the process share.
#[derive(Debug)]
pub struct AcmeDpi {
    host: Host,
    settings: Settings,
    totals: Totals,
    rates: Rates,
    news: News,
}

impl Plugin for AcmeDpi {
    const NAME: &'static str = "acme-dpi";

    fn create(host: Host, config: &Config<'_>) -> Result<Self, Error> {
        let settings = Settings::read(config)?;
        let (totals, rates, news) = (Totals::default(), Rates::default(), News::default());
        Ok(Self { host, settings, totals, rates, news })
    }

    fn start(self: &Arc<Self>) -> Result<(), Error> {
        rates::start(self)?;
        news::start(self)
    }

    fn stop(self: &Arc<Self>) {
        self.rates.stop();
    }
}

declare_plugin!(AcmeDpi);
export_plugin!();
