//! The header of a dump. Fields that are not known, or are 0 in dumps that Windows
//! wrote (`KdSecondaryVersion`, `WriterStatus`, ...), is 0.

use vmss2core_guest::windows::{WindowsFacts, kdbg_fields};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromZeros, IntoBytes};

use super::arch::Context;
use super::runs::{Memory, descriptor, filled};
use super::{Form, WindbgOptions};
use crate::DumpError;
use vmss2core_formats::dmp::{
    FULL, FULL_BITMAP, Header32, Header64, RUNS_BYTES, SIGNATURE32, SIGNATURE64,
};

const MACHINE_I386: u32 = 0x14c;
const MACHINE_AMD64: u32 = 0x8664;
const STATUS_BREAKPOINT: u32 = 0x8000_0003;
/// `EXCEPTION_NONCONTINUABLE`, as Windows states it of a bugcheck.
const NONCONTINUABLE: u32 = 1;
/// `LIVE_SYSTEM_DUMP`.
const LIVE: u32 = 0x161;
/// Builds that the original states if none is known: Windows 2000 and Vista.
const DEFAULT_BUILD32: u32 = 2195;
const DEFAULT_BUILD64: u32 = 6000;
/// Bytes of the comment without the NUL at its end.
const COMMENT: usize = 127;

/// Everything that the header says.
pub(super) struct Head<'a> {
    pub(super) facts: &'a WindowsFacts,
    pub(super) options: &'a WindbgOptions,
    pub(super) form: Form,
    pub(super) memory: &'a Memory,
    /// Registers of the processor that a debugger begins with.
    pub(super) context: Option<&'a Context>,
    pub(super) vcpus: usize,
    pub(super) comment: String,
}

/// The build that the header states, and whether it is but a guess.
pub(super) fn build(facts: &WindowsFacts, options: &WindbgOptions) -> (u32, bool) {
    let known = options.build.or(facts.build.as_ref().map(|build| build.value));
    let default = if facts.is_64_bit { DEFAULT_BUILD64 } else { DEFAULT_BUILD32 };
    known.map_or((default, true), |build| (build, false))
}

impl Head<'_> {
    pub(super) fn bytes(&self) -> Result<Vec<u8>, DumpError> {
        if self.facts.is_64_bit {
            Ok(self.header64()?.as_bytes().to_vec())
        } else {
            Ok(self.header32()?.as_bytes().to_vec())
        }
    }

    fn header64(&self) -> Result<Box<Header64>, DumpError> {
        let shared = self.facts.shared.as_ref();
        let (code, parameters) = self.bugcheck();
        let mut header = Box::new(Header64::new_zeroed());
        header.signature = SIGNATURE64;
        header.major = U32::new(self.major());
        header.minor = U32::new(build(self.facts, self.options).0);
        header.directory_table_base = U64::new(self.facts.kernel_root.value.1.0.0);
        header.pfn_database = U64::new(self.field(kdbg_fields::PFN_DATABASE));
        header.module_list = U64::new(self.field(kdbg_fields::MODULE_LIST));
        header.process_head = U64::new(self.field(kdbg_fields::PROCESS_HEAD));
        header.machine = U32::new(MACHINE_AMD64);
        header.processors = U32::new(self.processors());
        header.bugcheck = U32::new(code);
        header.parameters = parameters.map(U64::new);
        header.kdbg = U64::new(self.kdbg());
        header.runs = self.runs()?;
        put(&mut header.context, self.context.map_or(&[], |context| &context.bytes));
        header.exception.code = U32::new(STATUS_BREAKPOINT);
        header.exception.flags = U32::new(NONCONTINUABLE);
        header.exception.address = U64::new(self.instruction());
        header.dump_type = U32::new(self.dump_type());
        header.required_space = U64::new(self.memory.end);
        header.system_time = U64::new(shared.map_or(0, |shared| shared.system_time));
        header.comment = self.comment();
        header.up_time = U64::new(shared.map_or(0, |shared| shared.interrupt_time));
        header.product = U32::new(shared.map_or(0, |shared| shared.product));
        header.suite = U32::new(shared.map_or(0, |shared| shared.suite));
        header.boot_id = U32::new(shared.and_then(|shared| shared.boot_id).unwrap_or(0));
        Ok(header)
    }

    fn header32(&self) -> Result<Box<Header32>, DumpError> {
        let shared = self.facts.shared.as_ref();
        let (code, parameters) = self.bugcheck();
        let (mode, root) = self.facts.kernel_root.value;
        let mut header = Box::new(Header32::new_zeroed());
        header.signature = SIGNATURE32;
        header.major = U32::new(self.major());
        header.minor = U32::new(build(self.facts, self.options).0);
        header.directory_table_base = U32::new(low(root.0.0));
        header.pfn_database = U32::new(low(self.field(kdbg_fields::PFN_DATABASE)));
        header.module_list = U32::new(low(self.field(kdbg_fields::MODULE_LIST)));
        header.process_head = U32::new(low(self.field(kdbg_fields::PROCESS_HEAD)));
        header.machine = U32::new(MACHINE_I386);
        header.processors = U32::new(self.processors());
        header.bugcheck = U32::new(code);
        header.parameters = parameters.map(|value| U32::new(low(value)));
        header.pae = u8::from(mode.entry_len() == 8);
        header.kdbg = U32::new(low(self.kdbg()));
        header.runs = self.runs()?;
        put(&mut header.context, self.context.map_or(&[], |context| &context.bytes));
        header.exception.code = U32::new(STATUS_BREAKPOINT);
        header.exception.flags = U32::new(NONCONTINUABLE);
        header.exception.address = U32::new(low(self.instruction()));
        header.comment = self.comment();
        header.boot_id = U32::new(shared.and_then(|shared| shared.boot_id).unwrap_or(0));
        header.dump_type = U32::new(self.dump_type());
        header.product = U32::new(shared.map_or(0, |shared| shared.product));
        header.suite = U32::new(shared.map_or(0, |shared| shared.suite));
        header.required_space = U64::new(self.memory.end);
        header.up_time = U64::new(shared.map_or(0, |shared| shared.interrupt_time));
        header.system_time = U64::new(shared.map_or(0, |shared| shared.system_time));
        Ok(header)
    }

    /// The highest digit of `NtBuildNumber`: F of a free build, C of a checked one.
    fn major(&self) -> u32 {
        if self.facts.is_checked { 0xc } else { 0xf }
    }

    /// A field of the debugger data that the header repeats.
    fn field(&self, at: usize) -> u64 {
        self.facts.kdbg_pointer(at).map_or(0, |gva| gva.0)
    }

    fn kdbg(&self) -> u64 {
        self.facts.kdbg.as_ref().map_or(0, |kdbg| kdbg.value.gva.0)
    }

    /// As many as Windows uses; more would be asked for registers.
    fn processors(&self) -> u32 {
        let of_windows = u32::try_from(self.facts.cpus.len()).ok().filter(|count| *count > 0);
        let shared = self.facts.shared.as_ref().and_then(|shared| shared.processors);
        let vcpus = u32::try_from(self.vcpus).unwrap_or(u32::MAX);
        of_windows.or(shared).unwrap_or(vcpus)
    }

    fn bugcheck(&self) -> (u32, [u64; 4]) {
        match &self.facts.bugcheck {
            Some(bugcheck) => {
                let [code, parameters @ ..] = bugcheck.value;
                (low(code), parameters)
            }
            None => (self.options.bugcheck.unwrap_or(LIVE), [0; 4]),
        }
    }

    fn runs(&self) -> Result<[u8; RUNS_BYTES], DumpError> {
        match self.form {
            Form::Full => descriptor(self.memory, self.facts.is_64_bit),
            Form::Bitmap => Ok(filled()),
        }
    }

    fn dump_type(&self) -> u32 {
        match self.form {
            Form::Full => FULL,
            Form::Bitmap => FULL_BITMAP,
        }
    }

    fn instruction(&self) -> u64 {
        self.context.map_or(0, |context| context.instruction)
    }

    /// One line of ASCII; debuggers print it as it is.
    fn comment(&self) -> [u8; 128] {
        let mut bytes = [0; 128];
        let ascii = self.comment.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' });
        for (to, from) in bytes.iter_mut().take(COMMENT).zip(ascii) {
            *to = u8::try_from(from).unwrap_or(b'?');
        }
        bytes
    }
}

/// Copies `from` to the beginning of `to`.
fn put(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// The low half of a register.
pub(super) fn low(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}
