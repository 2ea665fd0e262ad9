//! Files that were written of a checkpoint.
//!
//! The member names are the JSON members; `docs/schema/convert-1.json` and `btf-1.json`
//! describe them.

use serde::Serialize;

use crate::info::ProblemInfo;
use crate::page::{Answer, Page};
use crate::units::human_size;

/// A file that debuggers open.
#[derive(Clone, Debug, Serialize)]
pub struct ConvertReport {
    /// The file.
    pub path: String,
    /// Name of its format.
    pub format: &'static str,
    /// Its length.
    pub bytes: u64,
    /// Bytes of guest memory in it.
    pub memory_bytes: u64,
    /// Parts that could not be written, or are odd.
    pub problems: Vec<ProblemInfo>,
    /// Commands that open it.
    pub hints: Vec<String>,
}

impl Answer for ConvertReport {
    const SCHEMA: &'static str = "vmss2core/convert/1";

    fn page(&self, page: &mut Page<'_>) {
        let Self { path, memory_bytes, .. } = self;
        page.line(&format!("wrote {path}: {} of guest memory", human_size(*memory_bytes)));
    }
}

/// A file of type information (BTF).
#[derive(Clone, Debug, Serialize)]
pub struct BtfReport {
    /// The file.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// The module whose types they are; without one, the kernel's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// How they were found.
    pub how: String,
}

impl Answer for BtfReport {
    const SCHEMA: &'static str = "vmss2core/btf/1";

    fn page(&self, page: &mut Page<'_>) {
        page.line(&format!("wrote {}: {}", self.path, human_size(self.bytes)));
    }
}
