//! `dmesg`: the kernel's log.

use clap::Args;
use vmss2core_answers::TimeStyle;
use vmss2core_guest::linux::LEVELS;

use super::open::ask;
use super::{Arguments, Plan};
use crate::args::{Global, GuestArgs, GuestPlan, Style};
use crate::exit::Exit;
use crate::output;

/// Print the kernel's log
///
/// As dmesg in the guest would print it, from the log's buffer in memory.
#[derive(Debug, Args)]
#[command(
    // Here -l is --level, as in util-linux.
    mut_arg("offsets", |arg| arg.short(None)),
    after_help = "\
Examples:
  vmss2core dmesg vm.vmss | tail
  vmss2core dmesg -T --level warn+ vm.vmss
  vmss2core dmesg --json vm.vmss | jq -r '.messages[].text'")]
pub(crate) struct DmesgArgs {
    #[command(flatten)]
    guest: GuestArgs,
    /// Print dates, in UTC, instead of seconds since boot
    ///
    /// They come from the guest's own clock; a guest that slept or whose clock
    /// was set since has wrong dates for what was before, as with dmesg.
    #[arg(short = 'T', long)]
    ctime: bool,
    /// Only messages of these levels, by name, with commas between
    ///
    /// The levels are emerg, alert, crit, err, warn, notice, info and debug.
    /// "err+" is err and all that are more serious.
    #[arg(short, long, value_name = "LIST", value_parser = levels)]
    level: Option<Levels>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl Arguments for DmesgArgs {
    fn plan(self, global: &Global) -> Result<Box<dyn Plan>, String> {
        Ok(Box::new(DmesgPlan {
            guest: self.guest.plan(global),
            times: if self.ctime { TimeStyle::Date } else { TimeStyle::SinceBoot },
            levels: self.level.map_or_else(|| (0..=7).collect(), |levels| levels.0),
            style: Style::of(self.json),
        }))
    }
}

/// Levels by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Levels(pub(crate) Vec<u8>);

fn levels(list: &str) -> Result<Levels, String> {
    let mut wanted = Vec::new();
    for word in list.split(',') {
        let (name, and_worse) = word.strip_suffix('+').map_or((word, false), |name| (name, true));
        let number = (0..).zip(LEVELS).find(|(_, level)| *level == name).map(|(number, _)| number);
        let number: u8 = number.ok_or_else(|| {
            format!("no level is called {name:?}; there are {}", LEVELS.join(", "))
        })?;
        wanted.extend(if and_worse { 0..=number } else { number..=number });
    }
    Ok(Levels(wanted))
}

/// Print the kernel's log.
#[derive(Debug)]
struct DmesgPlan {
    guest: GuestPlan,
    times: TimeStyle,
    levels: Vec<u8>,
    style: Style,
}

impl Plan for DmesgPlan {
    fn run(&self) -> anyhow::Result<Exit> {
        ask(&self.guest, |guest| {
            let said = guest.dmesg(&self.levels)?;
            let report = said.answer.with_times(self.times);
            output::answer(&report, self.style)?;
            self.guest.source.talk.found_by(&report.how);
            if self.times == TimeStyle::Date {
                let booted = report.booted.as_ref();
                match booted {
                    Some(booted) => {
                        let how = format!("started {}: {}", booted.value, booted.how);
                        self.guest.source.talk.how(&how);
                    }
                    None => output::talk(
                        "vmss2core: warning: when the guest was started is not known: no dates",
                    ),
                }
            }
            Ok(said.problems)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_named_one_by_one_or_from_one_on() {
        assert_eq!(levels("err,debug"), Ok(Levels(vec![3, 7])));
        assert_eq!(levels("crit+"), Ok(Levels(vec![0, 1, 2])));
        assert!(levels("error").is_err() && levels("").is_err() && levels("err,").is_err());
    }
}
