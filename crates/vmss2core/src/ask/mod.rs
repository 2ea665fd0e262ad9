//! Questions about a guest, and their answers.

mod bt;
mod info;
mod process;
mod ps;

use std::io::{self, Write};

use vmss2core_answers::{
    BtReport, CrashArgsReport, DmesgReport, Forms, MacosModulesReport, MapsReport, ModuleList,
    ModulesReport, PsReport, WindowsBtReport, WindowsModulesReport, WindowsPsReport, write_json,
    write_text,
};
use vmss2core_guest::Which;
use vmss2core_mem::Problem;

pub use bt::Stacks;
pub(crate) use process::{number as process_number, threads_number};
pub use ps::Listed;

use crate::{Error, Guest, Kernel};

/// An answer, and what was in the way of a full one.
#[derive(Clone, Debug)]
pub struct Answered<A> {
    /// The answer.
    pub answer: A,
    /// What is missing, odd or broken.
    pub problems: Vec<Problem>,
}

/// An answer that has a form of its own for each guest system.
macro_rules! by_system {
    ($(#[$about:meta])* $name:ident { $($(#[$which:meta])* $system:ident($answer:ty),)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$which])* $system($answer),)*
        }

        impl Forms for $name {
            fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
                match self {
                    $(Self::$system(answer) => write_text(answer, out),)*
                }
            }

            fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
                match self {
                    $(Self::$system(answer) => write_json(answer, out),)*
                }
            }
        }
    };
}

by_system! {
    /// The processes of a guest.
    Processes {
        /// Of a Linux.
        Linux(PsReport),
        /// Of a Windows.
        Windows(WindowsPsReport),
    }
}

by_system! {
    /// Stacks in a guest's kernel.
    StackList {
        /// Of a Linux.
        Linux(BtReport),
        /// Of a Windows.
        Windows(WindowsBtReport),
    }
}

by_system! {
    /// What a guest's kernel has loaded.
    Images {
        /// Modules of a Linux.
        Linux(ModulesReport),
        /// Images of a Windows.
        Windows(WindowsModulesReport),
        /// Extensions of a macOS.
        Macos(MacosModulesReport),
    }
}

impl Guest {
    /// What its kernel has loaded.
    pub fn modules(&self, list: ModuleList) -> Result<Answered<Images>, Error> {
        Ok(match self.kernel()? {
            Kernel::Linux(kernel) => {
                let modules = kernel.modules();
                let report = ModulesReport::new(modules, kernel.word_len(), list);
                Answered { answer: Images::Linux(report), problems: modules.problems.clone() }
            }
            Kernel::Windows(kernel) => {
                let modules = kernel.modules();
                let report = WindowsModulesReport::new(modules);
                Answered { answer: Images::Windows(report), problems: modules.problems.clone() }
            }
            Kernel::Macos(macos) => {
                let report = MacosModulesReport::new(macos, &self.facts().problems);
                Answered { answer: Images::Macos(report), problems: Vec::new() }
            }
        })
    }

    /// The messages in its kernel's log that have one of these levels.
    pub fn dmesg(&self, levels: &[u8]) -> Result<Answered<DmesgReport>, Error> {
        let kernel = self.linux()?;
        let log = kernel.log()?;
        let clock = kernel.clock(Some(&log));
        let answer = DmesgReport::new(&log, &clock, levels, &log.problems);
        Ok(Answered { answer, problems: log.problems })
    }

    /// The mappings of a process.
    pub fn maps(&self, which: impl Into<Which>) -> Result<Answered<MapsReport>, Error> {
        let (process, mut problems) = self.process(which)?;
        problems.extend(process.problems().iter().cloned());
        Ok(Answered { answer: MapsReport::new(&process, &problems), problems })
    }

    /// The lines that open it in kernel debuggers.
    pub fn crash_args(&self) -> Result<CrashArgsReport, Error> {
        let vmlinux = self.given().vmlinux.as_deref();
        Ok(CrashArgsReport::new(self.linux()?.linux(), self.inputs(), vmlinux, self.command_line()))
    }
}
