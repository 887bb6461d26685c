//! What a command answered: tables of typed cells.

use serde_json::Value;

/// A command's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    command: String,
    json: Value,
}

impl Answer {
    /// What `millctl --json` printed.
    ///
    /// # Panics
    /// If that is no JSON.
    pub fn parse(command: &str, text: &str) -> Self {
        let json = serde_json::from_str(text)
            .unwrap_or_else(|error| panic!("`{command}' answered no JSON: {error}: {text}"));
        Self { command: command.to_owned(), json }
    }

    /// All of it, as `millctl --json` prints it.
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// Lines of text beside the tables.
    pub fn lines(&self) -> Vec<&str> {
        let lines = self.json["text"].as_array().into_iter().flatten();
        lines.filter_map(Value::as_str).collect()
    }

    /// The tables, each with its title.
    pub fn tables(&self) -> impl Iterator<Item = (&str, Rows<'_>)> {
        let tables = self.json["tables"].as_array().into_iter().flatten();
        tables.map(|table| {
            let rows = table["rows"].as_array().map_or(&[][..], Vec::as_slice);
            (table["title"].as_str().unwrap_or(""), Rows { command: &self.command, rows })
        })
    }

    /// The rows of all tables, one after the other.
    pub fn rows(&self) -> Vec<Row<'_>> {
        self.tables().flat_map(|(_, rows)| rows.iter().collect::<Vec<_>>()).collect()
    }

    /// Row `row` of all.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn row(&self, row: usize) -> Row<'_> {
        let rows = self.rows();
        *rows
            .get(row)
            .unwrap_or_else(|| panic!("`{}' has no row {row}: {}", self.command, self.json))
    }

    /// The row whose `column` is `value`.
    pub fn find(&self, column: &str, value: &str) -> Option<Row<'_>> {
        self.rows().into_iter().find(|row| row.row[column] == value)
    }

    /// The row whose `column` is `value`.
    ///
    /// # Panics
    /// If there is none.
    pub fn the(&self, column: &str, value: &str) -> Row<'_> {
        self.find(column, value).unwrap_or_else(|| {
            panic!("`{}' has no row whose {column} is {value}: {}", self.command, self.json)
        })
    }

    /// The cell in `row` under `column`.
    ///
    /// # Panics
    /// If there is none.
    pub fn cell(&self, row: usize, column: &str) -> &Value {
        self.row(row).cell(column)
    }

    /// The text in `row` under `column`.
    ///
    /// # Panics
    /// If there is none, or it is no text.
    pub fn text(&self, row: usize, column: &str) -> &str {
        self.row(row).text(column)
    }

    /// The count in `row` under `column`.
    ///
    /// # Panics
    /// If there is none, or it is no count.
    pub fn count(&self, row: usize, column: &str) -> u64 {
        self.row(row).count(column)
    }

    /// A column's texts, of all tables.
    ///
    /// # Panics
    /// If a row has no such text.
    pub fn column(&self, column: &str) -> Vec<&str> {
        self.rows().into_iter().map(|row| row.text(column)).collect()
    }

    /// A column's counts of all tables, summed.
    ///
    /// # Panics
    /// If a row has no such count.
    pub fn sum(&self, column: &str) -> u64 {
        self.rows().into_iter().map(|row| row.count(column)).sum()
    }
}

/// The rows of one table.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    command: &'a str,
    rows: &'a [Value],
}

impl<'a> Rows<'a> {
    /// Each row.
    pub fn iter(&self) -> impl Iterator<Item = Row<'a>> + use<'a> {
        let command = self.command;
        self.rows.iter().map(move |row| Row { command, row })
    }
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    command: &'a str,
    row: &'a Value,
}

impl<'a> Row<'a> {
    /// The cell under `column`.
    ///
    /// # Panics
    /// If there is none.
    pub fn cell(&self, column: &str) -> &'a Value {
        let Self { command, row } = self;
        row.get(column).unwrap_or_else(|| panic!("`{command}' has no column {column:?}: {row}"))
    }

    /// The text under `column`.
    ///
    /// # Panics
    /// If there is none, or it is no text.
    pub fn text(&self, column: &str) -> &'a str {
        let cell = self.cell(column);
        cell.as_str().unwrap_or_else(|| panic!("`{}': {column} is {cell}, no text", self.command))
    }

    /// The count under `column`.
    ///
    /// # Panics
    /// If there is none, or it is no count.
    pub fn count(&self, column: &str) -> u64 {
        let cell = self.cell(column);
        cell.as_u64().unwrap_or_else(|| panic!("`{}': {column} is {cell}, no count", self.command))
    }

    /// The number under `column`.
    ///
    /// # Panics
    /// If there is none, or it is no number.
    pub fn number(&self, column: &str) -> f64 {
        let cell = self.cell(column);
        cell.as_f64().unwrap_or_else(|| panic!("`{}': {column} is {cell}, no number", self.command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        Answer::parse(
            "show x",
            r#"{"tables":[{"title":null,"columns":[],"rows":[{"Name":"a","N":1}]},
                {"title":"T","columns":[],"rows":[{"Name":"b","N":2}]}],"text":["done"]}"#,
        )
    }

    #[test]
    fn cells_are_found_by_row_and_column_and_by_another_cell() {
        let answer = answer();
        assert_eq!((answer.text(0, "Name"), answer.count(1, "N")), ("a", 2));
        assert_eq!(answer.the("Name", "b").count("N"), 2);
        assert!(answer.find("Name", "c").is_none());
        assert_eq!((answer.sum("N"), answer.column("Name")), (3, vec!["a", "b"]));
        assert_eq!(answer.tables().map(|(title, _)| title).collect::<Vec<_>>(), ["", "T"]);
        assert_eq!(answer.lines(), ["done"]);
    }

    #[test]
    #[should_panic(expected = "`show x' has no column \"M\"")]
    fn a_column_that_is_not_there_fails_the_test_by_name() {
        answer().count(0, "M");
    }
}
