//! The text by which the kernel names itself.

use memchr::memmem;

use super::Uuid;

/// The beginning of every such text.
pub(super) const PREFIX: &[u8] = b"Darwin Kernel Version ";
/// The kernel keeps no more of it (`kdp_kernelversion_string`).
pub(super) const MAX_LEN: usize = 256;
const UUID: &str = "; UUID=";
const STEXT: &str = "; stext=0x";

/// Fields of the `Darwin Kernel Version ...` text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DarwinVersion {
    /// The text as `uname -v` has it.
    pub text: String,
    /// Version of Darwin: major, minor, revision.
    pub darwin: [u32; 3],
    /// The kernel's UUID, where the text is the one that is made for debuggers.
    pub uuid: Option<Uuid>,
    /// Where the kernel begins, as that text says of a kernel that was moved.
    pub stext: Option<u64>,
}

impl DarwinVersion {
    /// The text at the front of `bytes`, which has to end within [`MAX_LEN`]; `None` if
    /// it is none.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..MAX_LEN.min(bytes.len()))?;
        let end = memchr::memchr(0, bytes)?;
        let whole = std::str::from_utf8(bytes.get(..end)?).ok()?.trim_end();
        let numbers = whole.strip_prefix(std::str::from_utf8(PREFIX).ok()?)?;
        let (numbers, _) = numbers.split_once(':')?;
        let mut numbers = numbers.split('.').map(|number| number.parse().ok());
        let darwin = [numbers.next()??, numbers.next()??, numbers.next()??];
        let text = whole.split(UUID).next().unwrap_or(whole).split(STEXT).next();
        let is_plain = !whole.chars().any(char::is_control);
        is_plain.then(|| Self {
            text: text.unwrap_or(whole).to_owned(),
            darwin,
            uuid: behind(whole, UUID).and_then(uuid),
            stext: behind(whole, STEXT).and_then(|digits| u64::from_str_radix(digits, 16).ok()),
        })
    }

    /// The number that this Darwin's macOS has: "10.15", "14".
    pub fn macos(&self) -> Option<String> {
        let [darwin, ..] = self.darwin;
        match darwin {
            4..=19 => Some(format!("10.{}", darwin.saturating_sub(4))),
            20..=24 => Some(darwin.saturating_sub(9).to_string()),
            // With Darwin 25 the numbers became those of years.
            25..100 => Some(darwin.saturating_add(1).to_string()),
            _ => None,
        }
    }

    /// Whether it names a 32-bit kernel, as far as it says.
    pub(super) fn is_64_bit(&self) -> Option<bool> {
        let ends = |architecture| self.text.ends_with(architecture);
        if ends("_X86_64") {
            return Some(true);
        }
        ends("_I386").then_some(false)
    }

    /// How much it tells: more for the text that is made for debuggers.
    pub(super) fn worth(&self) -> u8 {
        u8::from(self.uuid.is_some()).saturating_add(u8::from(self.stext.is_some()))
    }
}

/// Where such texts may begin in `bytes`: the first of a hostile number.
pub(super) fn places(bytes: &[u8]) -> impl Iterator<Item = usize> {
    const MOST: usize = 1024;
    memmem::find_iter(bytes, PREFIX).take(MOST)
}

/// The word after a name.
fn behind<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, word) = text.split_once(name)?;
    let end = word.find(|char: char| !char.is_ascii_hexdigit() && char != '-');
    word.get(..end.unwrap_or(word.len()))
}

fn uuid(text: &str) -> Option<Uuid> {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&digits, 16).ok()?;
    (digits.len() == 32).then(|| Uuid(number.to_be_bytes()))
}
