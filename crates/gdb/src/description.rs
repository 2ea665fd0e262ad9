//! Target descriptions: which registers there are, in which order, and how each
//! is taken from a thread ("Standard Target Features" and "i386 Features" of
//! gdb's manual; gdb refuses a feature whose registers are not exactly those).

use std::fmt::Write;

use crate::target::Registers;

mod features;
mod fpu;
mod system;

/// How wide the guest's code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Real mode.
    Bits16,
    /// Protected mode, or virtual-8086 mode.
    Bits32,
    /// Long mode.
    Bits64,
}

/// A group of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// General registers, selectors and x87: every description has it.
    Core,
    /// XMM registers; gdb's `gcore` needs them.
    Sse,
    /// Upper halves of YMM registers.
    Avx,
    /// Bases of FS and GS.
    Segments,
    /// Number of the system call; what makes gdb take the target for Linux.
    Linux,
    /// Control, debug, descriptor table and model-specific registers.
    System,
}

/// One register.
#[derive(Clone, Debug)]
pub struct Register {
    /// Its name.
    pub name: String,
    /// Its size in bits, a multiple of 8 up to 128.
    pub bits: u32,
    /// Its type in the description.
    kind: &'static str,
    /// The group that `info registers GROUP` shows it in, apart from its type's.
    group: Option<&'static str>,
    feature: Feature,
    value: fn(&Registers, usize) -> Option<u128>,
    /// What `value` gets, to tell alike registers apart.
    index: usize,
}

impl Register {
    /// Its value in a thread; `None` if it is not known.
    pub fn value(&self, registers: &Registers) -> Option<u128> {
        (self.value)(registers, self.index)
    }

    /// Its bytes, as many as it is wide.
    pub fn bytes(&self, registers: &Registers) -> Option<Vec<u8>> {
        let mut bytes = self.value(registers)?.to_le_bytes().to_vec();
        bytes.truncate(self.len_bytes());
        Some(bytes)
    }

    /// Its size.
    pub fn len_bytes(&self) -> usize {
        // At most 16.
        usize::try_from(self.bits / 8).unwrap_or(0)
    }
}

/// The registers of all threads of an inferior.
#[derive(Clone, Debug)]
pub struct Description {
    width: Width,
    features: Vec<Feature>,
    registers: Vec<Register>,
}

impl Description {
    /// A description with these features, in this order.
    pub fn new(width: Width, features: &[Feature]) -> Self {
        // gdb refuses a description with a feature that has none of its registers, as
        // bases of segments have none in 32-bit guests.
        let with_registers = features.iter().map(|feature| {
            let registers = features::registers(width, *feature);
            (*feature, registers)
        });
        let (features, registers): (Vec<_>, Vec<_>) =
            with_registers.filter(|(_, registers)| !registers.is_empty()).unzip();
        Self { width, features, registers: registers.into_iter().flatten().collect() }
    }

    /// How wide the guest's code is.
    pub fn width(&self) -> Width {
        self.width
    }

    /// The registers in the order of their numbers.
    pub fn registers(&self) -> &[Register] {
        &self.registers
    }

    /// The number of a register.
    pub fn number_of(&self, name: &str) -> Option<usize> {
        self.registers.iter().position(|register| register.name == name)
    }

    /// The registers that stop replies bring along, so that a client need not ask.
    pub(crate) fn expedited(&self) -> impl Iterator<Item = (usize, &Register)> {
        const NAMES: [&str; 6] = ["rip", "rsp", "rbp", "eip", "esp", "ebp"];
        let all = self.registers.iter().enumerate();
        all.filter(|(_, register)| NAMES.contains(&register.name.as_str()))
    }

    /// The description as gdb reads it.
    pub fn xml(&self) -> String {
        let architecture = match self.width {
            Width::Bits16 => "i8086",
            Width::Bits32 => "i386",
            Width::Bits64 => "i386:x86-64",
        };
        let mut xml = format!(
            "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n\
             <target version=\"1.0\">\n<architecture>{architecture}</architecture>\n"
        );
        if self.features.contains(&Feature::Linux) {
            xml.push_str("<osabi>GNU/Linux</osabi>\n");
        }
        for feature in &self.features {
            self.push_feature(&mut xml, *feature);
        }
        xml.push_str("</target>\n");
        xml
    }

    fn push_feature(&self, xml: &mut String, feature: Feature) {
        // Writing to a String cannot fail.
        let _ = writeln!(xml, "<feature name=\"{}\">", features::name(feature));
        xml.push_str(&features::types(feature));
        let all = self.registers.iter().enumerate();
        for (number, register) in all.filter(|(_, register)| register.feature == feature) {
            let Register { name, bits, kind, .. } = register;
            let _ = write!(
                xml,
                "<reg name=\"{name}\" bitsize=\"{bits}\" type=\"{kind}\" regnum=\"{number}\""
            );
            if let Some(group) = register.group {
                let _ = write!(xml, " group=\"{group}\"");
            }
            xml.push_str("/>\n");
        }
        xml.push_str("</feature>\n");
    }
}

#[cfg(test)]
mod tests {
    use vmss2core_machine::x86::Gpr;

    use super::*;

    const ALL: [Feature; 6] = [
        Feature::Core,
        Feature::Sse,
        Feature::Linux,
        Feature::Segments,
        Feature::Avx,
        Feature::System,
    ];

    #[test]
    fn numbers_are_those_of_gdb() {
        let wide = Description::new(Width::Bits64, &ALL);
        for (name, number) in
            [("rax", 0), ("rsp", 7), ("rip", 16), ("gs", 23), ("st0", 24), ("xmm0", 40)]
        {
            assert_eq!(wide.number_of(name), Some(number), "{name}");
        }
        let narrow = Description::new(Width::Bits32, &[Feature::Core, Feature::Sse]);
        for (name, number) in [("eax", 0), ("esp", 4), ("eip", 8), ("xmm0", 32), ("mxcsr", 40)] {
            assert_eq!(narrow.number_of(name), Some(number), "{name}");
        }
    }

    #[test]
    fn no_feature_is_empty() {
        let narrow = Description::new(Width::Bits32, &ALL).xml();
        assert!(!narrow.contains("org.gnu.gdb.i386.segments"), "{narrow}");
        assert!(Description::new(Width::Bits64, &ALL).xml().contains("org.gnu.gdb.i386.segments"));
    }

    #[test]
    fn values_are_little_endian_or_missing() {
        let wide = Description::new(Width::Bits64, &ALL);
        let mut registers = Registers::default();
        registers.cpu.set_gpr(Gpr::Rbx, 0x1122);
        registers.cpu.rflags = Some(0x246);
        let bytes = |name| {
            let register = &wide.registers()[wide.number_of(name).unwrap()];
            register.bytes(&registers)
        };
        assert_eq!(bytes("rbx"), Some(vec![0x22, 0x11, 0, 0, 0, 0, 0, 0]));
        assert_eq!(bytes("eflags"), Some(vec![0x46, 2, 0, 0]));
        assert_eq!(bytes("xmm3"), None);
        assert_eq!(bytes("cr3"), None);
    }

    #[test]
    fn names_differ_and_sizes_are_whole_bytes() {
        for width in [Width::Bits16, Width::Bits32, Width::Bits64] {
            let description = Description::new(width, &ALL);
            let mut names: Vec<_> =
                description.registers().iter().map(|register| &register.name).collect();
            names.sort();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count);
            assert!(description.registers().iter().all(|r| r.bits % 8 == 0 && r.bits <= 128));
        }
    }
}
