//! Weights by hand, and learning from a teacher.

use super::place::Place;
use insta::assert_snapshot;

const FEW: &str = "--method head --epochs 2 --batch 8";

#[test]
fn weights_by_hand() {
    let place = Place::new();
    place.train(&format!("{FEW} --weights weather=5,food=2"), "w.cut");
    let training = place.run("inspect w.cut --json").json()["card"]["training"].clone();
    assert_snapshot!(training["class_weights"], @r#"{"food":2.0,"weather":5.0}"#);
    place.train(&format!("{FEW} --weights food=2 --weights weather=5"), "v.cut");
    assert!(place.read("v.cut") == place.read("w.cut"));
    place.train(FEW, "plain.cut");
    assert!(place.read("plain.cut") != place.read("w.cut"));
    // A label with a sign in it.
    place.edit("topics/train.tsv", "\tfood", "\ta=b");
    place.edit("topics/dev.tsv", "\tfood", "\ta=b");
    let train = "train --base base --train topics/train.tsv --dev topics/dev.tsv --method head";
    let shown = place.run(&format!("{train} -q --out s.cut --weights travel=1,a=b=2"));
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
}

#[test]
fn weights_that_mean_nothing() {
    let place = Place::new();
    let wrong = |options: &str| {
        place.run(&format!("train --base base --task topics {options} --out t.cut"))
    };
    assert_snapshot!(wrong("--weights wether=5"), @r#"
    exit 1
    --- stderr
    error: the weights: label "wether" is not among the 3 labels of the training rows
    hint: the nearest known are "weather", "travel", "food"
    "#);
    assert_snapshot!(wrong("--weights weather=0"), @r#"
    exit 2
    --- stderr
    error: the weight of label "weather" is 0, expected a number above 0 that float32 holds
    "#);
    assert_snapshot!(wrong("--weights weather=1 --weights weather=2"), @r#"
    exit 2
    --- stderr
    error: --weights gives label "weather" twice
    "#);
    assert_snapshot!(wrong("--weights weather=1 --class-weights balanced").stderr.lines().next().unwrap(), @"error: the argument '--weights <LABEL=NUMBER>' cannot be used with '--class-weights <CLASS_WEIGHTS>'");
    place.write("n.tsv", "text\tlabel\nrain\t0.5\nsnow\t1.25\nsun\t2.5\nbread\t3.75\n");
    let numbers = place.run("train --base base --train n.tsv --weights a=1 --out t.cut -q");
    assert_snapshot!(numbers, @"
    exit 2
    --- stderr
    error: weights of labels have no meaning for regression, whose labels are numbers and not classes
    hint: leave it out, or --problem single-label if the numbers are classes
    ");
}

#[test]
fn a_teacher() {
    let place = Place::trained();
    let texts: Vec<String> = place
        .text("topics/train.tsv")
        .lines()
        .map(|line| line.split('\t').next().unwrap().to_string())
        .collect();
    place.write("more.tsv", texts.join("\n"));
    let learn = |teacher: &str, more: &str, out: &str| {
        let line =
            format!("train --base base --task topics --distill {teacher} {more} {FEW} --out {out}");
        place.run(&line).rough()
    };
    assert_snapshot!(learn("topics.cut", "", "a.cut"), @r#"
    exit 0
    --- stdout
    accuracy # on # dev rows; the most frequent label for all: #
    a.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    note: the teacher "topics" has accuracy # on the # training rows
    topics: # rows, # dev rows, # labels; head on base, # epochs
    # rows of each label
    texts of # tokens (median), # at most; none is cut
    "#);
    assert_snapshot!(learn("topics.cut", "--unlabelled more.tsv", "b.cut"), @r#"
    exit 0
    --- stdout
    accuracy # on # dev rows; the most frequent label for all: #
    b.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    note: the teacher "topics" has accuracy # on the # training rows
    topics: # rows, # rows without labels, # dev rows, # labels; head on base, # epochs
    # rows of each label
    texts of # tokens (median), # at most; none is cut
    "#);
    // The folder of the same model teaches the same.
    assert!(
        place.run("export topics.cut --base base --out hf -q").to_string().starts_with("exit 0")
    );
    learn("hf", "--unlabelled more.tsv", "c.cut");
    let shown = |cut: &str| place.run(&format!("inspect {cut} --json")).json()["card"].clone();
    let (of_cut, of_folder) = (shown("b.cut"), shown("c.cut"));
    let training = &of_cut["training"];
    assert_eq!(training["loss"], of_folder["training"]["loss"]);
    let said = ["teacher", "teacher_share", "teacher_temperature", "unlabelled_rows"]
        .map(|name| &training[name]);
    assert_snapshot!(format!("{said:?}"), @r#"[String("topics"), Number(0.5), Number(2.0), Number(48)]"#);
}

#[test]
fn who_cannot_teach() {
    let place = Place::trained();
    let wrong = |options: &str| place.run(&format!("train --base base -q --out t.cut {options}"));
    assert_snapshot!(wrong("--task topics --distill topics.cut --objective pairs"), @"
    exit 2
    --- stderr
    error: --objective pairs has no meaning with --distill: a teacher answers row by row
    hint: leave one of them out
    ");
    assert_snapshot!(wrong("--task topics --unlabelled topics/train.tsv"), @"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      --distill <CUT|DIR>

    Usage: linocut train --base <DIR|NAME> --out <FILE> --distill <CUT|DIR> --quiet --unlabelled <FILE> <--task <DIR>|--train <FILE>>

    For more information, try '--help'.
    ");
    assert_snapshot!(wrong("--task topics --distill nowhere.cut"), @"
    exit 1
    --- stderr
    error: cannot read nowhere.cut: No such file or directory (os error 2)
    ");
    assert_snapshot!(wrong("--task topics --distill base"), @r#"
    exit 1
    --- stderr
    error: base is a "BertModel", expected a BertForSequenceClassification: it has no head that labels texts
    hint: a pretrained model is a base, on which a task is trained
    "#);
    place.write("o.tsv", "text\tlabel\nrain\twet\nbread\tfood\nsnow\twet\nsoup\tfood\n");
    assert_snapshot!(wrong("--train o.tsv --dev o.tsv --distill topics.cut"), @r#"
    exit 1
    --- stderr
    warning: o.tsv is the training file itself: its score says what was learned by heart
    error: the teacher "topics" has other labels than the training rows: it does not know "wet"; it knows "travel", "weather", too
    hint: a teacher answers with the same labels, in any order; of labels that no training row has, --labels or a task.json may list all
    "#);
    place.write(
        "p.tsv",
        "sentence1\tsentence2\tlabel\nrain\tsnow\tfood\nbread\tx\tweather\nsoup\ty\ttravel\n",
    );
    assert_snapshot!(wrong("--train p.tsv --dev p.tsv --distill topics.cut"), @r#"
    exit 1
    --- stderr
    warning: p.tsv is the training file itself: its score says what was learned by heart
    error: the teacher: the task "topics" takes one text, found a pair of texts
    hint: give a teacher of such rows, or name their columns: --text and --text-pair
    "#);
    place.write("u.tsv", "body\nrain\n");
    assert_snapshot!(wrong("--task topics --distill topics.cut --unlabelled u.tsv"), @r#"
    exit 1
    --- stderr
    error: u.tsv has no column "sentence1"; its columns are "body"
    "#);
    assert_eq!(place.names().iter().filter(|name| name.ends_with(".cut")).count(), 1);
}
