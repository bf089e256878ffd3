//! Studies of a task in files of its own, read as `linocut train` reads them.

use super::place::Place;
use insta::assert_snapshot;

/// With `mails.csv`, a table of two topics and a few others, several of them in some rows.
fn place() -> Place {
    let place = Place::new();
    let task = place.text("topics/train.tsv");
    let row = |(i, line): (usize, &str)| {
        let (text, label) = line.split_once('\t').unwrap();
        let more = if i % 3 == 0 { "|urgent" } else { "" };
        format!("{text};{label}{more}\n")
    };
    let rows: String = task.lines().skip(1).enumerate().map(row).collect();
    place.write("mails.csv", format!("body;queues\n{rows}"));
    place.write("order.txt", "weather\nfood\n");
    place
}

const ROWS: &str = "--train mails.csv --text body --label queues --label-separator | --labels order.txt \
                    --other elsewhere --delimiter ;";

#[test]
fn a_task_in_files_of_its_own() {
    let place = place();
    let study = format!("study --base base {ROWS} --out s --arms head,full --seeds 2 --epochs 2");
    let shown = place.run(&format!("{study} --within 100"));
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    let told = shown.rough().stderr;
    let told: Vec<&str> = told.lines().filter(|line| line.starts_with("note")).collect();
    assert_snapshot!(told.join("\n"), @r#"note: mails.csv: # of # rows have labels that are not among the # of the task, and count as "elsewhere": "travel" (#), "urgent" (#)"#);

    // A run is what train makes of the same rows, and the advice is the command for it.
    let train = format!("train --base base {ROWS} --method full --epochs 2 --out f.cut -q");
    assert!(place.run(&train).to_string().starts_with("exit 0"));
    assert!(place.read("f.cut") == place.read("s/cuts/queues~full~0.cut"));
    let report = place.text("s/study.md");
    let advice = report.lines().find(|line| line.starts_with("linocut train")).unwrap();
    assert_snapshot!(advice, @"linocut train --base base --train mails.csv --text body --label queues --label-separator '|' --labels order.txt --other elsewhere --delimiter ';' --method head --epochs 2 --out queues.cut");

    // The same command has nothing to do; other rows are refused.
    let again = place.run(&study);
    assert!(again.stderr.contains("all 4 runs are done"), "{again}");
    assert_snapshot!(place.run(&format!("{study} -q").replace(" --other elsewhere", " --other food")), @"
    exit 1
    --- stderr
    error: queues: what is read as dev rows changed since s was started
    hint: restore the file, or the options that read it; or start another study with another --out
    ");
}

#[test]
fn options_that_do_not_fit() {
    let place = place();
    let study = "study --base base --out s --arms head --seeds 1 --epochs 1 -q";
    assert_snapshot!(place.run(study), @"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      <--task <DIR>|--train <FILE>>

    Usage: linocut study --base <DIR|NAME> --out <DIR> --arms <NAMES> --seeds <N> --epochs <EPOCHS> --quiet <--task <DIR>|--train <FILE>>

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run(&format!("{study} --task topics --train mails.csv")), @"
    exit 2
    --- stderr
    error: the argument '--task <DIR>' cannot be used with '--train <FILE>'

    Usage: linocut study --base <DIR|NAME> --out <DIR> --arms <NAMES> --seeds <N> --epochs <EPOCHS> --quiet <--task <DIR>|--train <FILE>>

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run(&format!("{study} --task topics --dev mails.csv")), @"
    exit 2
    --- stderr
    error: the argument '--task <DIR>' cannot be used with '--dev <FILE>'

    Usage: linocut study --base <DIR|NAME> --out <DIR> --arms <NAMES> --seeds <N> --epochs <EPOCHS> --quiet <--task <DIR>|--train <FILE>>

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run(&format!("{study} --dev mails.csv")), @"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      <--task <DIR>|--train <FILE>>

    Usage: linocut study --base <DIR|NAME> --out <DIR> --arms <NAMES> --seeds <N> --epochs <EPOCHS> --quiet --dev <FILE> <--task <DIR>|--train <FILE>>

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run(&format!("{study} --train mails.csv --delimiter ;")), @r#"
    exit 1
    --- stderr
    error: mails.csv: no label column was named, and none of label, labels, class, category, intent, target, score is present; its columns are "body", "queues"
    hint: name the label column: --label; if the first line is a row, put a line of names before it
    "#);
    assert_snapshot!(place.run(&format!("{study} --task topics --labels order.txt")), @"
    exit 2
    --- stderr
    error: both --labels and topics/task.json list the labels
    hint: leave one of the two out
    ");
    // Options that read a folder otherwise are part of the study.
    let shown = place.run(&format!("{study} --task topics --text sentence1"));
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    assert_snapshot!(place.run(&format!("{study} --task topics")), @"
    exit 1
    --- stderr
    error: topics: what is read as dev rows changed since s was started
    hint: restore the file, or the options that read it; or start another study with another --out
    ");
}
