//! Runs a program and says what it cost.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

/// What one run cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    /// Wall clock seconds.
    pub(super) seconds: f64,
    /// Processor seconds, user and system.
    pub(super) cpu_seconds: f64,
    /// Peak resident memory in MiB.
    pub(super) peak_mib: f64,
}

/// Whether the input lies in the page cache when the clock starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cache {
    Warm,
    Cold,
}

impl Cache {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Cold => "cold",
        }
    }

    /// Brings `file` into the cache or out of it, lets earlier writes end, and
    /// empties the rest of the cache.
    ///
    /// Then makes sure that the run gets its memory from the host at once, see
    /// [`back_free_memory`].
    pub(super) fn prepare(self, file: &Path, tool: &Path) -> Result<()> {
        ensure!(Command::new("sync").status()?.success(), "sync failed");
        match fs::write("/proc/sys/vm/drop_caches", "1") {
            // Only root may.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            written => written.context("emptying the page cache")?,
        }
        // Starting the programs is not what is measured cold.
        shell(&format!("cat '{}' /bin/cp /usr/bin/time > /dev/null", tool.display()))?;
        let data_bytes = fs::metadata(file)?.blocks() * 512;
        match self {
            Self::Warm => {
                shell(&format!("cat '{}' > /dev/null", file.display()))?;
                back_free_memory(data_bytes)?;
            }
            Self::Cold => {
                shell(&format!("dd if='{}' iflag=nocache count=0 status=none", file.display()))?;
                back_free_memory(2 * data_bytes)?;
            }
        }
        Ok(())
    }
}

/// Takes as much memory and a GiB more, writes to it, and gives it back.
///
/// A host takes back what a guest has free (free page reporting) and charges
/// whoever gets it next, here 2 s for each GiB: four times what a copy takes.
/// What was freed a moment ago is handed out first and costs nothing. In large
/// pages, as the host gives small ones one by one: after small ones the same copy
/// took 1.8 to 5.3 s, after large ones 1.7 to 2.4 s.
fn back_free_memory(bytes: u64) -> Result<()> {
    const SCRIPT: &str = "
import mmap, sys
memory = mmap.mmap(-1, int(sys.argv[1]), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_HUGEPAGE)
for at in range(0, len(memory), 4096): memory[at] = 1
";
    let len = bytes + (1 << 30);
    let status = Command::new("python3").args(["-c", SCRIPT, &len.to_string()]).status()?;
    ensure!(status.success(), "python3 could not take {len} bytes of memory");
    Ok(())
}

/// Runs a line of shell that must succeed.
pub(super) fn shell(line: &str) -> Result<()> {
    let status = Command::new("sh").args(["-c", line]).status()?;
    ensure!(status.success(), "failed: {line}");
    Ok(())
}

/// Runs `argv` under GNU time in `dir`; its own output is thrown away.
pub(super) fn run(argv: &[String], dir: &Path) -> Result<Cost> {
    let report = dir.join("time.txt");
    let start = Instant::now();
    let output = Command::new("/usr/bin/time")
        .args(["-f", "%U %S %M", "-o"])
        .arg(&report)
        .args(argv)
        .current_dir(dir)
        .output()
        .context("running /usr/bin/time; `cargo xtask setup` installs it")?;
    // GNU time's own clock has two digits only, too few for the sparse inputs.
    let seconds = start.elapsed().as_secs_f64();
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed: {stderr}", argv.join(" "));
    let text = fs::read_to_string(&report)?;
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [user, system, peak_kib] = numbers[..] else {
        bail!("not what GNU time prints: {text}");
    };
    Ok(Cost { seconds, cpu_seconds: user + system, peak_mib: peak_kib / 1024.0 })
}

/// The fastest run, which was disturbed least, with the highest memory peak of all.
pub(super) fn best(runs: Vec<Cost>) -> Result<Cost> {
    let peak_mib = runs.iter().map(|run| run.peak_mib).fold(0.0, f64::max);
    let fastest = runs.into_iter().min_by(|a, b| a.seconds.total_cmp(&b.seconds));
    Ok(Cost { peak_mib, ..fastest.context("no runs")? })
}
