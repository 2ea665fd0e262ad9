//! Data of a Linux kernel that other tools take: VMCOREINFO, offsets of structures.
//!
//! The member names are the JSON members; `docs/schema/vmcoreinfo-1.json` and
//! `linuxoffsets-1.json` describe them.

use std::collections::BTreeMap;

use serde::Serialize;
use vmss2core_guest::linux::{LayoutItem, VmcoreInfo};
use vmss2core_mem::Found;

use crate::page::{Answer, Page};

/// VMCOREINFO.
#[derive(Clone, Debug, Serialize)]
pub struct VmcoreInfoReport {
    /// Its lines `KEY=value`, by key.
    pub values: BTreeMap<String, String>,
    /// The whole text.
    pub text: String,
    /// It was made up from other facts, as none was found in the guest.
    pub made_up: bool,
    /// How it was found.
    pub how: String,
}

impl VmcoreInfoReport {
    /// The report about what was found.
    pub fn new(info: &Found<VmcoreInfo>) -> Self {
        let lines = info.value.text.lines().filter_map(|line| line.split_once('='));
        Self {
            values: lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            text: info.value.text.clone(),
            made_up: info.value.synthesised,
            how: info.how.clone(),
        }
    }
}

impl Answer for VmcoreInfoReport {
    const SCHEMA: &'static str = "vmss2core/vmcoreinfo/1";

    fn page(&self, page: &mut Page<'_>) {
        self.text.lines().for_each(|line| page.line(line));
    }
}

/// Offsets of a kernel's structures.
#[derive(Clone, Debug, Serialize)]
pub struct OffsetsReport {
    /// The kernel's version.
    pub version: String,
    /// Bits of its words.
    pub bits: u32,
    /// The 14 numbers of the original, if all that they need is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// Each member and size that is known, as the option for offsets takes it.
    pub layout: Vec<OffsetInfo>,
    /// Whether people see the whole layout instead of the line.
    #[serde(skip)]
    pub is_whole: bool,
}

/// A member or a size.
#[derive(Clone, Debug, Serialize)]
pub struct OffsetInfo {
    /// As the option for offsets takes it.
    pub item: String,
    /// Who says so.
    pub how: String,
}

impl From<&LayoutItem> for OffsetInfo {
    fn from(item: &LayoutItem) -> Self {
        Self { item: item.to_string(), how: item.how.clone() }
    }
}

impl Answer for OffsetsReport {
    const SCHEMA: &'static str = "vmss2core/linuxoffsets/1";

    fn page(&self, page: &mut Page<'_>) {
        if let Some(line) = self.line.as_ref().filter(|_| !self.is_whole) {
            return page.line(line);
        }
        page.line(&format!("version={}", self.version));
        for OffsetInfo { item, how } in &self.layout {
            page.line(&format!("{item:<REMARK$} # {how}"));
        }
    }
}

/// Column where remarks begin.
const REMARK: usize = 48;
