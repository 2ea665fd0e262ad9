//! A symbol table for volatility 3, so that it can read a guest without the PDB.
//!
//! Source: the schema of its Intermediate Symbol Format, 6.2.0.

use serde_json::{Map, Value, json};

use super::truth::Truth;

/// Structures that volatility 3 wants to exist and we have nothing to say about.
const EMPTY: [&str; 22] = [
    "_ERESOURCE",
    "_TOKEN",
    "_OBJECT_HEADER",
    "_FILE_OBJECT",
    "_DEVICE_OBJECT",
    "_CM_KEY_BODY",
    "_CMHIVE",
    "_CM_KEY_NODE",
    "_CM_KEY_VALUE",
    "_HMAP_ENTRY",
    "_MMVAD_SHORT",
    "_MMVAD",
    "_KMUTANT",
    "_DRIVER_OBJECT",
    "_OBJECT_SYMBOLIC_LINK",
    "_CONTROL_AREA",
    "_SHARED_CACHE_MAP",
    "_VACB",
    "_POOL_TRACKER_BIG_PAGES",
    "_IMAGE_DOS_HEADER",
    "_KTIMER",
    "_HANDLE_TABLE",
];

/// A member: name, offset, type.
type Member<'a> = (&'a str, u64, Value);

impl Truth {
    /// The table, and its path below the folder of tables.
    pub fn volatility_symbols(&self) -> (String, String) {
        let pdb = &self.pdb;
        let path = format!("windows/{}/{}-{:X}.json", pdb.name, pdb.guid, pdb.age);
        let symbols: Map<String, Value> = self
            .symbols
            .iter()
            .map(|(name, va)| ((*name).to_owned(), json!({"address": va - self.kernel.base})))
            .collect();
        let table = json!({
            "metadata": self.metadata(),
            "base_types": self.base_types(),
            "user_types": self.types(),
            "enums": {"_NT_PRODUCT_TYPE": {
                "base": "unsigned long",
                "size": 4,
                "constants":
                    {"NtProductWinNt": 1, "NtProductLanManNt": 2, "NtProductServer": 3},
            }},
            "symbols": symbols,
        });
        (path, table.to_string())
    }

    fn metadata(&self) -> Value {
        let (major, minor) = self.version;
        let machine = if self.paging.is_64_bit() { 0x8664 } else { 0x14c };
        json!({
            "format": "6.2.0",
            "producer": {"name": "vmss2core-lab", "version": "1", "datetime": "2024-01-01T00:00:00"},
            "windows": {
                "pdb": {"GUID": self.pdb.guid, "age": self.pdb.age, "database": self.pdb.name,
                    "machine_type": machine},
                "pe": {"major": major, "minor": minor, "revision": 0, "build": self.build},
            },
        })
    }

    fn base_types(&self) -> Value {
        let int = |size: u64, signed: bool| json!({"kind": "int", "size": size, "signed": signed, "endian": "little"});
        let width = if self.paging.is_64_bit() { 8 } else { 4 };
        json!({
            "pointer": int(width, false),
            "void": {"kind": "void", "size": 0, "signed": false, "endian": "little"},
            "char": {"kind": "char", "size": 1, "signed": true, "endian": "little"},
            "unsigned char": {"kind": "char", "size": 1, "signed": false, "endian": "little"},
            "unsigned short": int(2, false),
            "wchar": int(2, false),
            "int": int(4, true),
            "long": int(4, true),
            "unsigned int": int(4, false),
            "unsigned long": int(4, false),
            "long long": int(8, true),
            "unsigned long long": int(8, false),
        })
    }

    fn types(&self) -> Value {
        let mut types = Map::new();
        for name in EMPTY {
            types.insert(name.to_owned(), structure(0x400, &[]));
        }
        for (name, value) in self.small_types().into_iter().chain(self.large_types()) {
            types.insert(name.to_owned(), value);
        }
        Value::Object(types)
    }

    fn small_types(&self) -> [(&'static str, Value); 10] {
        let width = if self.paging.is_64_bit() { 8 } else { 4 };
        let list = || pointer(&of("_LIST_ENTRY"));
        let buffer = pointer(&base("unsigned short"));
        [
            (
                "_LIST_ENTRY",
                structure(2 * width, &[("Flink", 0, list()), ("Blink", width, list())]),
            ),
            (
                "_UNICODE_STRING",
                structure(
                    2 * width,
                    &[
                        ("Length", 0, base("unsigned short")),
                        ("MaximumLength", 2, base("unsigned short")),
                        ("Buffer", width, buffer),
                    ],
                ),
            ),
            ("_LARGE_INTEGER", structure(8, &[("QuadPart", 0, base("long long"))])),
            ("_EX_FAST_REF", structure(width, &[("Object", 0, pointer(&base("void")))])),
            (
                "_KSYSTEM_TIME",
                structure(
                    12,
                    &[
                        ("LowPart", 0, base("unsigned long")),
                        ("High1Time", 4, base("long")),
                        ("High2Time", 8, base("long")),
                    ],
                ),
            ),
            (
                "_CLIENT_ID",
                structure(
                    2 * width,
                    &[
                        ("UniqueProcess", 0, pointer(&base("void"))),
                        ("UniqueThread", width, pointer(&base("void"))),
                    ],
                ),
            ),
            ("_POOL_HEADER", structure(2 * width, &[("PoolTag", 4, base("unsigned long"))])),
            ("_PEB", structure(0x800, &[("ImageBaseAddress", 2 * width, pointer(&base("void")))])),
            ("_KUSER_SHARED_DATA", shared()),
            (
                "_DBGKD_GET_VERSION64",
                structure(
                    0x28,
                    &[
                        ("MajorVersion", 0, base("unsigned short")),
                        ("MinorVersion", 2, base("unsigned short")),
                        ("MachineType", 8, base("unsigned short")),
                        ("KernBase", 0x10, base("unsigned long long")),
                        ("PsLoadedModuleList", 0x18, base("unsigned long long")),
                        ("DebuggerDataList", 0x20, base("unsigned long long")),
                    ],
                ),
            ),
        ]
    }

    fn large_types(&self) -> [(&'static str, Value); 5] {
        let wide = self.paging.is_64_bit();
        let at = |of, member| self.layout.get(&(of, member)).copied().unwrap_or_default();
        let process = |member| at("_EPROCESS", member);
        let root = if wide { base("unsigned long long") } else { base("unsigned long") };
        let dtb = process("DirectoryTableBase");
        let any = || pointer(&base("void"));
        let name = json!({"kind": "array", "count": 15, "subtype": base("unsigned char")});
        let entry = |wide_at, narrow_at| if wide { wide_at } else { narrow_at };
        [
            ("_KPROCESS", structure(0x60, &[("DirectoryTableBase", dtb, root)])),
            (
                "_EPROCESS",
                structure(
                    process(""),
                    &[
                        ("Pcb", 0, of("_KPROCESS")),
                        ("UniqueProcessId", process("UniqueProcessId"), any()),
                        (
                            "InheritedFromUniqueProcessId",
                            process("InheritedFromUniqueProcessId"),
                            any(),
                        ),
                        ("ActiveProcessLinks", process("ActiveProcessLinks"), of("_LIST_ENTRY")),
                        ("ThreadListHead", process("ThreadListHead"), of("_LIST_ENTRY")),
                        ("ActiveThreads", process("ActiveThreads"), base("unsigned long")),
                        ("ImageFileName", process("ImageFileName"), name),
                        ("CreateTime", process("CreateTime"), of("_LARGE_INTEGER")),
                        ("ExitTime", process("ExitTime"), of("_LARGE_INTEGER")),
                        ("Peb", process("Peb"), pointer(&of("_PEB"))),
                        ("ObjectTable", process("ObjectTable"), pointer(&of("_HANDLE_TABLE"))),
                    ],
                ),
            ),
            (
                "_KTHREAD",
                structure(0x100, &[("State", at("_ETHREAD", "State"), base("unsigned char"))]),
            ),
            (
                "_ETHREAD",
                structure(
                    at("_ETHREAD", ""),
                    &[
                        ("Tcb", 0, of("_KTHREAD")),
                        ("Cid", at("_ETHREAD", "Cid"), of("_CLIENT_ID")),
                        ("ThreadListEntry", at("_ETHREAD", "ThreadListEntry"), of("_LIST_ENTRY")),
                        ("StartAddress", at("_ETHREAD", "StartAddress"), any()),
                    ],
                ),
            ),
            (
                "_LDR_DATA_TABLE_ENTRY",
                structure(
                    0xa0,
                    &[
                        ("InLoadOrderLinks", 0, of("_LIST_ENTRY")),
                        ("DllBase", entry(0x30, 0x18), any()),
                        ("EntryPoint", entry(0x38, 0x1c), any()),
                        ("SizeOfImage", entry(0x40, 0x20), base("unsigned long")),
                        ("FullDllName", entry(0x48, 0x24), of("_UNICODE_STRING")),
                        ("BaseDllName", entry(0x58, 0x2c), of("_UNICODE_STRING")),
                    ],
                ),
            ),
        ]
    }
}

fn shared() -> Value {
    let system_root = json!({"kind": "array", "count": 260, "subtype": base("wchar")});
    structure(
        0x720,
        &[
            ("InterruptTime", 8, of("_KSYSTEM_TIME")),
            ("SystemTime", 0x14, of("_KSYSTEM_TIME")),
            ("NtSystemRoot", 0x30, system_root),
            ("NtProductType", 0x264, json!({"kind": "enum", "name": "_NT_PRODUCT_TYPE"})),
            ("NtMajorVersion", 0x26c, base("unsigned long")),
            ("NtMinorVersion", 0x270, base("unsigned long")),
        ],
    )
}

fn structure(size: u64, members: &[Member<'_>]) -> Value {
    let fields: Map<String, Value> = members
        .iter()
        .map(|(name, offset, kind)| ((*name).to_owned(), json!({"offset": offset, "type": kind})))
        .collect();
    json!({"kind": "struct", "size": size, "fields": fields})
}

fn base(name: &str) -> Value {
    json!({"kind": "base", "name": name})
}

fn of(name: &str) -> Value {
    json!({"kind": "struct", "name": name})
}

fn pointer(to: &Value) -> Value {
    json!({"kind": "pointer", "subtype": to})
}
