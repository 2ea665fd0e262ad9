//! Files that were extracted.
//!
//! The member names are the JSON members; `docs/schema/extract-1.json` describes them.

use serde::Serialize;
use vmss2core_mem::Problem;

use crate::info::{Hex, ProblemInfo};
use crate::page::{Answer, Page};
use crate::units::human_size;

/// The files that were written.
#[derive(Clone, Debug, Serialize)]
pub struct ExtractReport {
    /// One for each file.
    pub files: Vec<ExtractedFile>,
    /// Parts that are missing or could not be written.
    pub problems: Vec<ProblemInfo>,
}

/// A file.
#[derive(Clone, Debug, Serialize)]
pub struct ExtractedFile {
    /// Its path in the guest.
    pub guest_path: String,
    /// Where it was written.
    pub path: String,
    /// Other names by which the program knows it, also written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Its length.
    pub bytes: u64,
    /// How many bytes of it are missing.
    pub missing_bytes: u64,
    /// The ranges that are missing: start, and first offset after.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<(Hex, Hex)>,
}

impl ExtractReport {
    /// The report about these files.
    pub fn new(files: Vec<ExtractedFile>, problems: &[Problem]) -> Self {
        Self { files, problems: ProblemInfo::all(problems) }
    }
}

impl Answer for ExtractReport {
    const SCHEMA: &'static str = "vmss2core/extract/1";

    fn page(&self, page: &mut Page<'_>) {
        for file in &self.files {
            let ExtractedFile { path, guest_path, bytes, .. } = file;
            page.line(&format!("wrote {path}: {guest_path}, {}", human_size(*bytes)));
        }
    }
}
