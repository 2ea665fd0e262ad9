//! Options that the original did not have, and what they may mean.

use super::is_option;
use crate::args::elsewhere;

/// Refuses an option, with a guess at what was meant.
pub(super) fn unknown(option: &str) -> String {
    let guess = guess(option).unwrap_or_else(|| "vmss2core help lists them all".to_owned());
    format!("unknown option {option}: {guess}")
}

fn guess(option: &str) -> Option<String> {
    let upper = option.to_ascii_uppercase();
    if upper != option && is_option(&upper) {
        return Some(format!("did you mean {upper}? options have capital letters"));
    }
    let there_are = match option.get(..2)? {
        "-N" => "there are -N, -N4 and -N6",
        "-W" => "there are -W, -W8, -WSCAN, -W<BUILD> and -WDDB<ADDRESS>",
        "-P" => "there are -P, and -P<PID> with a number",
        "-X" => "there are -X32 and -X64",
        _ => return elsewhere(option),
    };
    Some(there_are.to_owned())
}
