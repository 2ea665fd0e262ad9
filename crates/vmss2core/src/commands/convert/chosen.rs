//! Options that `convert` makes from what the output formats let their users choose.

use std::sync::LazyLock;

use clap::builder::{PossibleValuesParser, TypedValueParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command};
use vmss2core_dump::{Choice, Owners, Takes, Value, choices};

/// Chosen values, by the names of the choices.
#[derive(Clone, Debug, Default)]
pub(super) struct ChosenArgs(pub(super) Vec<(&'static str, Value)>);

impl clap::FromArgMatches for ChosenArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |choice: &'static Choice| {
            let value = match choice.takes {
                Takes::Nothing => matches.get_flag(choice.name).then_some(Value::Yes),
                _ => matches.get_one::<Value>(choice.name).copied(),
            };
            Some((choice.name, value?))
        };
        Ok(Self(choices().into_iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for ChosenArgs {
    fn augment_args(command: Command) -> Command {
        ORDERED.iter().fold(command, |command, (heading, choice)| {
            command.arg(arg(choice, heading.as_deref()))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The choices below the headings of help, first those that are among the command's own
/// options.
static ORDERED: LazyLock<Vec<(Option<String>, &'static Choice)>> = LazyLock::new(|| {
    let mut all: Vec<_> = choices().into_iter().map(|choice| (heading(choice), choice)).collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
});

fn heading(choice: &Choice) -> Option<String> {
    let named = choice.belongs_to == Owners::Named;
    named.then(|| format!("Options of --format {}", choice.formats().join(" and ")))
}

fn arg(choice: &'static Choice, heading: Option<&'static str>) -> Arg {
    let default = choice.default.map(|default| format!(" [default: {default}]"));
    let help = format!("{}{}", choice.help, default.unwrap_or_default());
    let long_help = choice.details.map(|details| format!("{help}\n\n{details}"));
    let arg = Arg::new(choice.name).long(choice.name).short(choice.letter).help(&help);
    let arg = arg.help_heading(heading);
    let arg = match long_help {
        Some(text) => arg.long_help(text),
        None => arg,
    };
    let (called, parser) = match choice.takes {
        Takes::Nothing => return arg.action(ArgAction::SetTrue),
        Takes::Number { called, .. } | Takes::Count { called } | Takes::Hex { called, .. } => {
            (called, ValueParser::new(|text: &str| choice.parse(text)))
        }
        Takes::Word { called, words, .. } => {
            let word = PossibleValuesParser::new(words);
            (called, ValueParser::new(word.try_map(|word| choice.parse(&word))))
        }
    };
    let is_listed = matches!(choice.takes, Takes::Word { are_listed: true, .. });
    arg.value_name(called).value_parser(parser).hide_possible_values(!is_listed)
}
