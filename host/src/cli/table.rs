//! What a command answers: tables of typed cells and lines of text.
//!
//! People get aligned columns; programs get
//! `{"tables":[{"title":…,"columns":[{"name":…,"unit":…}],"rows":[{"name":cell,…}]}],"text":[…]}`.

use std::fmt::Write as _;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, SerializeStruct, Serializer};

/// One value of a table.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Cell {
    /// No value.
    Nothing,
    /// Text; addresses, prefixes and names too.
    Text(String),
    /// A signed integer.
    Integer(i64),
    /// An unsigned integer.
    Unsigned(u64),
    /// A number that people see with `digits` digits after the point; programs get all of it.
    Float {
        /// The number.
        value: f64,
        /// Digits after the point.
        digits: u8,
    },
    /// Yes or no.
    Boolean(bool),
    /// Bytes, two hexadecimal digits each.
    Bytes(Vec<u8>),
}

impl Cell {
    /// A number that people see with `digits` digits after the point.
    pub fn float(value: f64, digits: u8) -> Self {
        Self::Float { value, digits }
    }

    /// Anything that can be written: an address, a prefix.
    pub fn display(value: impl std::fmt::Display) -> Self {
        Self::Text(value.to_string())
    }

    fn text(&self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Text(text) => printable(text),
            Self::Integer(value) => value.to_string(),
            Self::Unsigned(value) => value.to_string(),
            Self::Float { value, digits } => format!("{value:.*}", usize::from(*digits)),
            Self::Boolean(value) => if *value { "yes" } else { "no" }.to_owned(),
            Self::Bytes(bytes) => hexadecimal(bytes),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Text whose control characters a terminal shows instead of obeying.
fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut clean, found| {
        if found.is_control() {
            clean.extend(found.escape_default());
        } else {
            clean.push(found);
        }
        clean
    })
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => serializer.serialize_unit(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Float { value, .. } => serializer.serialize_f64(*value),
            Self::Boolean(value) => serializer.serialize_bool(*value),
            Self::Bytes(bytes) => serializer.serialize_str(&hexadecimal(bytes)),
        }
    }
}

macro_rules! cell_from {
    ($($from:ty => $variant:ident),+ $(,)?) => {$(
        impl From<$from> for Cell {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )+};
}
cell_from!(
    &str => Text, String => Text, bool => Boolean,
    u8 => Unsigned, u16 => Unsigned, u32 => Unsigned, u64 => Unsigned, i32 => Integer, i64 => Integer,
);

impl From<usize> for Cell {
    fn from(value: usize) -> Self {
        Self::Unsigned(u64::try_from(value).unwrap_or(u64::MAX))
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }
}

/// On which side a column's values stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// As text does.
    Left,
    /// As numbers do.
    Right,
    /// In the middle.
    Centre,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The name, which programs find a row's value by.
    pub name: String,
    /// The unit of its values, if they have one.
    pub unit: Option<String>,
    /// Where its values stand.
    pub align: Align,
}

impl Column {
    /// A column of text.
    pub fn text(name: impl Into<String>) -> Self {
        Self { name: name.into(), unit: None, align: Align::Left }
    }

    /// A column of numbers.
    pub fn number(name: impl Into<String>) -> Self {
        Self { name: name.into(), unit: None, align: Align::Right }
    }

    /// Gives its values a unit.
    #[must_use]
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = Some(unit.into());
        self
    }

    /// What stands above it.
    fn heading(&self) -> String {
        let name = printable(&self.name);
        match &self.unit {
            Some(unit) => format!("{name} [{}]", printable(unit)),
            None => name,
        }
    }
}

impl Serialize for Column {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Column", 2)?;
        fields.serialize_field("name", &self.name)?;
        fields.serialize_field("unit", &self.unit)?;
        fields.end()
    }
}

/// Rows of cells under named columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    title: Option<String>,
    /// No name twice.
    columns: Vec<Column>,
    /// Each as long as `columns`.
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows. A name that comes a second time becomes `name-2`.
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        let mut table = Self::default();
        columns.into_iter().for_each(|column| table.column(column));
        table
    }

    /// Puts a line above it.
    #[must_use]
    pub fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Appends a column; the rows so far have nothing in it.
    pub fn column(&mut self, mut column: Column) {
        let taken = |name: &str| self.columns.iter().any(|other| other.name == name);
        if taken(&column.name) {
            let mut names = (2_usize..).map(|number| format!("{}-{number}", column.name));
            column.name = names.find(|name| !taken(name)).unwrap_or_default();
        }
        self.columns.push(column);
        self.rows.iter_mut().for_each(|row| row.push(Cell::Nothing));
    }

    /// Appends a row. Cells that are missing are nothing; for one too many a column is added, so
    /// that nothing is lost.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let mut cells: Vec<Cell> = cells.into_iter().collect();
        while self.columns.len() < cells.len() {
            self.column(Column::text(format!("column-{}", self.columns.len() + 1)));
        }
        cells.resize(self.columns.len(), Cell::Nothing);
        self.rows.push(cells);
    }

    /// The cells of the column `name`, row by row; `None` if there is no such column.
    pub fn cells(&self, name: &str) -> Option<impl Iterator<Item = &Cell>> {
        let at = self.columns.iter().position(|column| column.name == name)?;
        Some(self.rows.iter().filter_map(move |row| row.get(at)))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes it as aligned columns, two blanks between them.
    fn render(&self, out: &mut String) {
        if let Some(title) = &self.title {
            let _ = writeln!(out, "{}", printable(title));
        }
        let heading: Vec<String> = self.columns.iter().map(Column::heading).collect();
        let rows = self.rows.iter().map(|row| row.iter().map(Cell::text).collect());
        let lines: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
        let width = |column: usize| {
            lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        for line in &lines {
            let mut text = String::new();
            for ((cell, column), &width) in line.iter().zip(&self.columns).zip(&widths) {
                let _ = match column.align {
                    Align::Left => write!(text, "{cell:<width$}  "),
                    Align::Right => write!(text, "{cell:>width$}  "),
                    Align::Centre => write!(text, "{cell:^width$}  "),
                };
            }
            out.push_str(text.trim_end());
            out.push('\n');
        }
    }
}

/// A row, its cells under their columns' names and in their order.
struct Row<'a>(&'a [Column], &'a [Cell]);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_map(Some(self.0.len()))?;
        for (column, cell) in self.0.iter().zip(self.1) {
            row.serialize_entry(&column.name, cell)?;
        }
        row.end()
    }
}

/// The rows of a table.
struct Rows<'a>(&'a Table);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.0.rows.len()))?;
        for row in &self.0.rows {
            rows.serialize_element(&Row(&self.0.columns, row))?;
        }
        rows.end()
    }
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Table", 3)?;
        fields.serialize_field("title", &self.title)?;
        fields.serialize_field("columns", &self.columns)?;
        fields.serialize_field("rows", &Rows(self))?;
        fields.end()
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Line(String),
    Table(Table),
}

/// All that a command answers, in its order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer(Vec<Part>);

impl Answer {
    /// Appends a line of text; a line break in it begins another.
    pub fn line(&mut self, text: impl AsRef<str>) {
        self.0.extend(text.as_ref().lines().map(|line| Part::Line(line.to_owned())));
    }

    /// Appends a table.
    pub fn table(&mut self, table: Table) {
        self.0.push(Part::Table(table));
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tables.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.0.iter().filter_map(|part| match part {
            Part::Table(table) => Some(table),
            Part::Line(_) => None,
        })
    }

    /// The lines of text.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Line(line) => Some(line.as_str()),
            Part::Table(_) => None,
        })
    }

    /// The answer for people; a blank line before and after each table.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let mut after_table = false;
        for part in &self.0 {
            let table = matches!(part, Part::Table(_));
            if (table || after_table) && !out.is_empty() {
                out.push('\n');
            }
            match part {
                Part::Line(line) => out.extend([printable(line).as_str(), "\n"]),
                Part::Table(table) => table.render(&mut out),
            }
            after_table = table;
        }
        out
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Answer", 2)?;
        fields.serialize_field("tables", &self.tables().collect::<Vec<_>>())?;
        fields.serialize_field("text", &self.lines().collect::<Vec<_>>())?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        let mut table = Table::new([
            Column::text("Name"),
            Column::number("Calls"),
            Column::number("Clocks").unit("per packet"),
        ])
        .titled("Thread 0");
        table.row(["ip4-lookup".into(), Cell::Unsigned(u64::MAX), Cell::float(1.25, 1)]);
        table.row(["x\u{1b}[2J".into(), Cell::Integer(-1)]);
        let mut answer = Answer::default();
        answer.line("Time 1.0");
        answer.table(table);
        answer.line("end");
        answer
    }

    #[test]
    fn people_get_aligned_columns_and_no_control_characters() {
        let expected = "\
Time 1.0

Thread 0
Name                       Calls  Clocks [per packet]
ip4-lookup  18446744073709551615                  1.2
x\\u{1b}[2J                    -1

end
";
        assert_eq!(answer().render(), expected);
    }

    #[test]
    fn programs_get_every_digit_in_the_order_of_the_columns() {
        let expected = concat!(
            r#"{"tables":[{"title":"Thread 0","columns":[{"name":"Name","unit":null},"#,
            r#"{"name":"Calls","unit":null},{"name":"Clocks","unit":"per packet"}],"#,
            r#""rows":[{"Name":"ip4-lookup","Calls":18446744073709551615,"Clocks":1.25},"#,
            r#"{"Name":"x\u001b[2J","Calls":-1,"Clocks":null}]}],"text":["Time 1.0","end"]}"#,
        );
        assert_eq!(serde_json::to_string(&answer()).unwrap(), expected);
    }

    #[test]
    fn what_does_not_fit_the_columns_is_kept_all_the_same() {
        let mut table = Table::new([Column::text("a"), Column::text("a"), Column::text("a-2")]);
        table.row([true, false, true, false].map(Cell::from));
        let json = serde_json::to_value(&table).unwrap();
        assert_eq!(
            json["rows"][0],
            serde_json::json!({"a": true, "a-2": false, "a-2-2": true, "column-4": false})
        );
    }

    #[test]
    fn a_float_that_is_none_is_null_for_programs() {
        let cells = [Cell::float(f64::NAN, 2), Cell::Bytes(vec![0, 255]), None::<u64>.into()];
        assert_eq!(serde_json::to_string(&cells).unwrap(), r#"[null,"00ff",null]"#);
        assert_eq!(Cell::float(f64::INFINITY, 2).text(), "inf");
    }
}
