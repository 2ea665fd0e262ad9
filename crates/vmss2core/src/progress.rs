//! How far a writer has come, for people and for scripts.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use vmss2core_answers::human_size;
use vmss2core_dump::Observer;

use crate::args::ProgressWhen;
use crate::cancel::Cancel;
use crate::output;

/// Operations that are done by then show no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells a writer whether to go on, and the user how far it has come.
pub(crate) struct Progress<'a> {
    cancel: &'a Cancel,
    display: Display,
    megabytes: Option<Megabytes>,
}

/// Form of the progress on stderr.
enum Display {
    Nothing,
    Bar(Box<DelayedBar>),
    Lines(Lines),
}

impl<'a> Progress<'a> {
    /// Progress on stderr, for the file called `name`.
    pub(crate) fn new(when: ProgressWhen, name: &str, cancel: &'a Cancel) -> Self {
        Self { cancel, display: Display::new(when, name), megabytes: None }
    }

    /// As the original: `... N MBs written.` on stdout, for scripts. A terminal gets the
    /// bar: of a large machine there are thousands of those lines.
    pub(crate) fn with_megabytes(mut self) -> Self {
        if !io::stdout().is_terminal() {
            self.megabytes = Some(Megabytes::default());
        }
        self
    }

    /// Nothing at all.
    pub(crate) fn silent(mut self) -> Self {
        self.display = Display::Nothing;
        self
    }

    /// Removes what is in the way of further output.
    pub(crate) fn finish(self) {
        if let Display::Bar(bar) = self.display {
            bar.bar.finish_and_clear();
        }
    }
}

impl Observer for Progress<'_> {
    fn progress(&self, done: u64, total: u64) {
        if let Some(megabytes) = &self.megabytes {
            megabytes.advance(done);
        }
        match &self.display {
            Display::Nothing => {}
            Display::Bar(bar) => bar.advance(done, total),
            Display::Lines(lines) => lines.advance(done, total),
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.signal().is_some()
    }
}

impl Display {
    fn new(when: ProgressWhen, name: &str) -> Self {
        match (when, io::stderr().is_terminal()) {
            (ProgressWhen::Never, _) | (ProgressWhen::Auto, false) => Self::Nothing,
            (ProgressWhen::Auto, true) => Self::Bar(Box::new(DelayedBar::new(name, PATIENCE))),
            (ProgressWhen::Always, true) => {
                Self::Bar(Box::new(DelayedBar::new(name, Duration::ZERO)))
            }
            (ProgressWhen::Always, false) => Self::Lines(Lines::default()),
        }
    }
}

/// A bar that stays hidden at first.
struct DelayedBar {
    bar: ProgressBar,
    start: Instant,
    patience: Duration,
    shown: AtomicBool,
}

impl DelayedBar {
    fn new(name: &str, patience: Duration) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let template = "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes}, {eta} left";
        // The template is ours; were it wrong, the default would do.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(vmss2core_answers::printable(name));
        Self { bar, start: Instant::now(), patience, shown: AtomicBool::new(false) }
    }

    fn advance(&self, done: u64, total: u64) {
        if self.start.elapsed() < self.patience {
            return;
        }
        self.bar.set_position(done);
        if !self.shown.swap(true, Ordering::Relaxed) {
            self.bar.set_length(total);
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

/// A line a second, for a log.
#[derive(Default)]
struct Lines {
    last: Mutex<Option<(Instant, u64)>>,
}

impl Lines {
    fn advance(&self, done: u64, total: u64) {
        let Ok(mut last) = self.last.lock() else { return };
        let due = last.is_none_or(|(then, shown)| {
            then.elapsed() >= Duration::from_secs(1) || (done == total && shown != total)
        });
        if !due {
            return;
        }
        *last = Some((Instant::now(), done));
        output::talk(&format!("progress: {} of {}", human_size(done), human_size(total)));
    }
}

/// The original's lines: one for each 10 MiB of memory written.
#[derive(Default)]
struct Megabytes {
    printed: AtomicU64,
}

impl Megabytes {
    const STEP: u64 = 10;

    fn advance(&self, done: u64) {
        let now = (done >> 20) / Self::STEP;
        let before = self.printed.fetch_max(now, Ordering::Relaxed);
        if before >= now {
            return;
        }
        let mut out = output::stdout();
        for step in before.saturating_add(1)..=now {
            // A reader that has gone must not keep the file from being written.
            let _ = writeln!(out, "... {} MBs written.", step.saturating_mul(Self::STEP));
        }
        let _ = out.flush();
    }
}
