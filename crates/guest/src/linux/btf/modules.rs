//! The BTF of modules, which refers to that of the kernel.
//!
//! A module's own copy is gone once it is loaded. What the kernel keeps is in
//! `btf_modules`, a list of `struct btf_module` (kernel/bpf/btf.c, since 5.11 with
//! CONFIG_DEBUG_INFO_BTF_MODULES).

use vmss2core_mem::Gva;

use crate::linux::{Kernel, LinuxError};

/// A kernel has some hundred modules.
const MOST_MODULES: usize = 1 << 13;
/// The BTF of the largest module has 2 MiB.
const LONGEST: u64 = 64 << 20;

/// Where a module's BTF lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleBtf {
    /// Name of the module.
    pub module: String,
    data: Gva,
    len: u64,
}

impl ModuleBtf {
    /// The data, as they are in the kernel.
    pub fn read(&self, kernel: &Kernel) -> Result<Vec<u8>, LinuxError> {
        let corrupt = || LinuxError::Corrupt {
            what: format!("the BTF of module {}", self.module),
            at: self.data,
            why: format!("{:#x} bytes are too many", self.len),
        };
        let len = usize::try_from(self.len).ok().filter(|_| self.len <= LONGEST);
        let mut bytes = vec![0; len.ok_or_else(corrupt)?];
        kernel.read(self.data, &mut bytes, "btf.data")?;
        Ok(bytes)
    }
}

impl Kernel {
    /// The modules whose types the kernel keeps.
    pub fn module_btfs(&self) -> Result<Vec<ModuleBtf>, LinuxError> {
        let head = self.symbol("btf_modules")?.value;
        let mut found = Vec::new();
        let mut node = self.read_pointer(head, "btf_modules")?;
        while node != head && found.len() < MOST_MODULES {
            let (module, next) = self.module_btf(node)?;
            found.push(module);
            node = next;
        }
        Ok(found)
    }

    /// The object of a node of the list, and the next node.
    fn module_btf(&self, node: Gva) -> Result<(ModuleBtf, Gva), LinuxError> {
        let list = self.object(node, "btf_module").member("list")?.offset_bytes;
        let entry = self.object(Gva(node.0.wrapping_sub(list)), "btf_module");
        let broken = || LinuxError::Corrupt {
            what: "btf_module".into(),
            at: entry.gva(),
            why: "it has no module or no types".into(),
        };
        let module = entry.follow("module", "module")?.ok_or_else(broken)?.text("name")?;
        let btf = entry.follow("btf", "btf")?.ok_or_else(broken)?;
        let (data, len) = (btf.pointer("data")?, btf.uint("data_size")?);
        Ok((ModuleBtf { module, data, len }, entry.pointer("list")?))
    }
}
