//! A PDB of the guest's kernel, linked from an object file by the toolchain's own
//! linker: names of variables and functions, and the structures that debuggers ask.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::coff::{self, CHAR, POINTER, Type, Types, U8, U16, U32, U64, WCHAR};
use super::truth::Truth;
use crate::judges;

/// Where a linker puts the only section with contents, after its own.
const SECTION: u64 = 0x2000;

impl Truth {
    /// Writes the kernel's PDB into `dir` under its own name. 64-bit guests only.
    pub fn write_pdb(&self, dir: &Path) -> Result<PathBuf> {
        ensure!(self.paging.is_64_bit(), "no PDB of a 32-bit kernel can be linked");
        fs::create_dir_all(dir)?;
        let (object, image) = (dir.join("nt.obj"), dir.join("nt.dll"));
        let pdb = dir.join(&self.pdb.name);
        let symbols: Vec<_> = self
            .symbols
            .iter()
            .map(|(name, va)| Ok((*name, va - self.kernel.base - SECTION)))
            .collect::<Result<_>>()?;
        let size = u64::from(self.kernel.size) - SECTION;
        fs::write(&object, coff::object(size, &symbols, &self.debugger_types()))?;
        let options = [
            "/dll",
            "/noentry",
            "/debug",
            "/opt:noref",
            "/machine:x64",
            "/nodefaultlib",
            "/Brepro",
        ];
        let mut linker = judges::windows_linker()?.command();
        linker.current_dir(dir).args(options).args(["nt.obj", "/out:nt.dll"]);
        linker.arg(format!("/pdb:{}", self.pdb.name));
        let output = linker.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "linking {}: {said}", pdb.display());
        self.rename(&fs::read(&image)?, &pdb)?;
        fs::remove_file(object)?;
        fs::remove_file(image)?;
        Ok(pdb)
    }

    /// Gives a PDB the identity that the kernel's image names, instead of the one
    /// that the linker made up.
    fn rename(&self, image: &[u8], path: &Path) -> Result<()> {
        ensure!(section_of(image) == Some(SECTION), "the linker laid out its image differently");
        let mut pdb = fs::read(path)?;
        let made = memchr::memmem::find(image, b"RSDS").context("an image without its PDB")? + 4;
        let made = image.get(made..made + 16).context("a cut identity")?;
        let own = super::pe::code_view(&self.pdb.guid, self.pdb.age, "");
        let own = own.get(4..20).context("no identity")?;
        let at = memchr::memmem::find(&pdb, made).context("a PDB without its identity")?;
        put(&mut pdb, at, own);
        put(&mut pdb, at - 4, &self.pdb.age.to_le_bytes());
        // The stream about the image has its own: -1, version 19990903, age.
        let head = [0xff, 0xff, 0xff, 0xff, 0x77, 0x09, 0x31, 0x01];
        let at = memchr::memmem::find(&pdb, &head).context("a PDB without an image")?;
        put(&mut pdb, at + head.len(), &self.pdb.age.to_le_bytes());
        fs::write(path, pdb).context("writing the PDB")
    }

    fn debugger_types(&self) -> Types {
        let mut types = Types::default();
        let small = Small::new(&mut types);
        self.process_types(&mut types, &small);
        self.processor_types(&mut types, &small);
        types.structure(
            "_KLDR_DATA_TABLE_ENTRY",
            0xa0,
            &[
                ("InLoadOrderLinks", 0, small.list),
                ("DllBase", 0x30, POINTER),
                ("EntryPoint", 0x38, POINTER),
                ("SizeOfImage", 0x40, U32),
                ("FullDllName", 0x48, small.text),
                ("BaseDllName", 0x58, small.text),
            ],
        );
        types
    }

    fn process_types(&self, types: &mut Types, small: &Small) {
        let process = |member| self.member("_EPROCESS", member);
        let thread = |member| self.member("_ETHREAD", member);
        let mut fields = vec![("DirectoryTableBase", process("DirectoryTableBase"), U64)];
        if let Some(at) = self.layout.get(&("_EPROCESS", "UserDirectoryTableBase")) {
            fields.push(("UserDirectoryTableBase", *at, U64));
        }
        // It ends where the EPROCESS has members of its own.
        let kprocess = types.structure("_KPROCESS", process("UniqueProcessId"), &fields);
        let name = types.array(CHAR, 15);
        types.structure(
            "_EPROCESS",
            process(""),
            &[
                ("Pcb", 0, kprocess),
                ("UniqueProcessId", process("UniqueProcessId"), POINTER),
                ("ActiveProcessLinks", process("ActiveProcessLinks"), small.list),
                ("InheritedFromUniqueProcessId", process("InheritedFromUniqueProcessId"), POINTER),
                ("ImageFileName", process("ImageFileName"), name),
                ("CreateTime", process("CreateTime"), U64),
                ("ExitTime", process("ExitTime"), U64),
                ("Peb", process("Peb"), POINTER),
                ("ThreadListHead", process("ThreadListHead"), small.list),
                ("ActiveThreads", process("ActiveThreads"), U32),
            ],
        );
        let kthread = types.structure(
            "_KTHREAD",
            thread("Cid"),
            &[
                ("InitialStack", thread("InitialStack"), POINTER),
                ("StackLimit", thread("StackLimit"), POINTER),
                ("StackBase", thread("StackBase"), POINTER),
                ("KernelStack", thread("KernelStack"), POINTER),
                ("TrapFrame", thread("TrapFrame"), POINTER),
                ("State", thread("State"), U8),
                ("Teb", thread("Teb"), POINTER),
            ],
        );
        types.structure(
            "_ETHREAD",
            thread(""),
            &[
                ("Tcb", 0, kthread),
                ("Cid", thread("Cid"), small.client),
                ("StartAddress", thread("StartAddress"), POINTER),
                ("ThreadListEntry", thread("ThreadListEntry"), small.list),
            ],
        );
    }

    fn processor_types(&self, types: &mut Types, small: &Small) {
        let prcb = |member| self.member("_KPRCB", member);
        let special = types.structure(
            "_KSPECIAL_REGISTERS",
            0xe0,
            &[
                ("Cr0", 0, U64),
                ("Cr2", 8, U64),
                ("Cr3", 0x10, U64),
                ("Cr4", 0x18, U64),
                ("Gdtr", 0x50, small.descriptor),
                ("Idtr", 0x60, small.descriptor),
                ("Tr", 0x70, U16),
                ("Ldtr", 0x72, U16),
            ],
        );
        let state =
            types.structure("_KPROCESSOR_STATE", 0x5c0, &[("SpecialRegisters", 0, special)]);
        let mut fields = vec![
            ("CurrentThread", 8, POINTER),
            ("Number", prcb("Number"), U32),
            ("ProcessorState", prcb("ProcessorState"), state),
        ];
        let context = prcb("Context");
        fields.extend((context != 0).then_some(("Context", context, POINTER)));
        let kprcb = types.structure("_KPRCB", prcb(""), &fields);
        types.structure(
            "_KPCR",
            self.member("_KPCR", "Prcb") + prcb(""),
            &[
                ("GdtBase", 0, POINTER),
                ("TssBase", 8, POINTER),
                ("Self", 0x18, POINTER),
                ("CurrentPrcb", 0x20, POINTER),
                ("IdtBase", 0x38, POINTER),
                ("Prcb", self.member("_KPCR", "Prcb"), kprcb),
            ],
        );
    }

    fn member(&self, of: &'static str, member: &'static str) -> u64 {
        self.layout.get(&(of, member)).copied().unwrap_or_default()
    }
}

/// Types that others have members of.
struct Small {
    list: Type,
    text: Type,
    client: Type,
    descriptor: Type,
}

impl Small {
    fn new(types: &mut Types) -> Self {
        let buffer = types.pointer(WCHAR);
        let list = &[("Flink", 0, POINTER), ("Blink", 8, POINTER)];
        let text = &[("Length", 0, U16), ("MaximumLength", 2, U16), ("Buffer", 8, buffer)];
        let client = &[("UniqueProcess", 0, POINTER), ("UniqueThread", 8, POINTER)];
        Self {
            list: types.structure("_LIST_ENTRY", 16, list),
            text: types.structure("_UNICODE_STRING", 16, text),
            client: types.structure("_CLIENT_ID", 16, client),
            descriptor: types.structure(
                "_KDESCRIPTOR",
                16,
                &[("Limit", 6, U16), ("Base", 8, POINTER)],
            ),
        }
    }
}

/// Address of the section `.data` in an image.
fn section_of(image: &[u8]) -> Option<u64> {
    let at = memchr::memmem::find(image, b".data\0\0\0")?;
    let address = image.get(at + 12..at + 16)?;
    Some(u64::from(u32::from_le_bytes(address.try_into().ok()?)))
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
