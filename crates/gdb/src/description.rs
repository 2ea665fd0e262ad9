//! Target descriptions: the registers that a target has, as gdb reads them ("Target
//! Descriptions" of gdb's manual; gdb refuses a feature whose registers are not exactly
//! those that it knows).

use std::fmt::Write;

use vmss2core_machine::arch::Feature;
use vmss2core_machine::{RegisterDef, Table, Width};

/// The registers of all threads of an inferior.
#[derive(Clone, Debug)]
pub struct Description {
    table: Table,
    /// In the order of their numbers.
    registers: Vec<RegisterDef>,
}

impl Description {
    /// A description of these registers.
    pub fn new(table: Table) -> Self {
        let registers = table.registers().cloned().collect();
        Self { table, registers }
    }

    /// How wide the guest's code is.
    pub fn width(&self) -> Width {
        self.table.width
    }

    /// The registers in the order of their numbers.
    pub fn registers(&self) -> &[RegisterDef] {
        &self.registers
    }

    /// The registers that stop replies bring along, so that a client need not ask.
    pub(crate) fn expedited(&self) -> impl Iterator<Item = (usize, &RegisterDef)> {
        self.registers.iter().enumerate().filter(|(_, register)| register.is_first)
    }

    /// The description as gdb reads it.
    pub fn xml(&self) -> String {
        let mut xml = format!(
            "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n\
             <target version=\"1.0\">\n<architecture>{}</architecture>\n",
            self.table.architecture
        );
        if let Some(system) = self.table.system {
            // Writing to a String cannot fail.
            let _ = writeln!(xml, "<osabi>{system}</osabi>");
        }
        let mut number = 0;
        for feature in &self.table.features {
            push_feature(&mut xml, feature, &mut number);
        }
        xml.push_str("</target>\n");
        xml
    }
}

fn push_feature(xml: &mut String, feature: &Feature, number: &mut u32) {
    // Writing to a String cannot fail.
    let _ = writeln!(xml, "<feature name=\"{}\">", feature.name);
    xml.push_str(&feature.types);
    for RegisterDef { name, bits, kind, group, .. } in &feature.registers {
        let _ = write!(
            xml,
            "<reg name=\"{name}\" bitsize=\"{bits}\" type=\"{kind}\" regnum=\"{number}\""
        );
        if let Some(group) = group {
            let _ = write!(xml, " group=\"{group}\"");
        }
        xml.push_str("/>\n");
        *number = number.saturating_add(1);
    }
    xml.push_str("</feature>\n");
}
