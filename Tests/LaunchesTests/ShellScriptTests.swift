// SPDX-License-Identifier: GPL-3.0-or-later
import Testing

@testable import Launches

/// What a shell would run, read from a script's text.
@Suite struct ShellScriptTests {
  private func commands(_ source: String) throws -> [[String]] {
    try ShellScript(source, file: "script").commands.map { $0.map(\.text) }
  }

  @Test("golden: quotes, continuations, comments and separators")
  func words() throws {
    #expect(try commands("run a 'b c' \"d e\"f \\\n  g # h\ni; j && k") == [["run", "a", "b c", "d ef", "g"], ["i"], ["j"], ["k"]])
    #expect(try commands("a\\ b 'c\"d' \"e'f\" \"\"") == [["a b", "c\"d", "e'f", ""]])
    #expect(try commands("run x#y > out 2>&1 <<EOF\n--not-read 3\nEOF\nnext &> log") == [["run", "x#y"], ["next"]])
    #expect(try commands("a \\\r\nb\r\nc") == [["a", "b"], ["c"]])
  }

  @Test("golden: variables, arrays, defaults and arithmetic; what is not set stays as it is written")
  func expansion() throws {
    #expect(try commands("A=3\nexport B=\"x y\"\nrun $A ${A}b \"$B\" $B") == [["run", "3", "3b", "x y", "x", "y"]])
    #expect(try commands("A=(1 '2 3')\nA+=(4)\nrun ${A[@]} \"${A[@]}\"") == [["run", "1", "2", "3", "4", "1", "2 3", "4"]])
    #expect(try commands("N=4\nrun $((N*2+1)) $(( ($N - 1) / 2 )) $((M+1))") == [["run", "9", "1", "$((M+1))"]])
    #expect(try commands("run ${A:-7} ${B-\"8\"} $C $(hostname) `date` $1") == [["run", "7", "8", "$C", "$(hostname)", "`date`", "$1"]])
    #expect(try commands("O=\"--a 1\"\nO+=\" --b 2\"\nrun $O") == [["run", "--a", "1", "--b", "2"]])
    #expect(try commands("TP=2 run --tp $TP") == [["run", "--tp", "2"]])
    #expect(try commands("A=3\nrun ${A:+--a $A} ${B:+--b \"$B\"} ${C:-$A} ${D:-\"x $A\"}") == [["run", "--a", "3", "3", "x", "3"]])
    #expect(try commands("A=$1\nrun ${A:-7} ${A:+--b $A} $A") == [["run", "7", "$1"]])
    #expect(try commands("declare -ix A=3\nrun ${A:?not set} ${B?not set}") == [["run", "3", "${B?not set}"]])
    #expect(try commands("A=' 1 2 '\nrun x$A\"$A\"") == [["run", "x", "1", "2", " 1 2 "]])
  }

  @Test("golden: what is given from outside goes before what the script sets")
  func given() throws {
    let values = ["TP": "4", "1": "8", "ARGS": "--a 1 --b"]
    let script = try ShellScript("TP=1\nPP=$1\nARGS=()\nrun $TP ${PP} ${ARGS[@]} $CP", file: "script", values: values)
    #expect(script.commands.map { $0.map(\.text) } == [["run", "4", "8", "--a", "1", "--b", "$CP"]])
    #expect(script.variable(of: "$CP") == "CP" && script.variable(of: "${CP}") == "CP" && script.variable(of: "$(date)") == nil)
    let run = try ShellScript("N=$(nproc)\nrun $N", file: "script")
    #expect(run.commands.map { $0.map(\.text) } == [["run", "$N"]] && run.isResult("N") && !run.isResult("M"))
  }

  @Test("golden: branches whose conditions the script decides; others are not taken, and said to be so")
  func conditions() throws {
    let script = """
      DTYPE="fp8"; N=3
      if [[ "$DTYPE" == "fp8" ]] && [ $N -gt 2 ]; then
        a
        if [ -z "$DTYPE" ]; then b; else c; fi
      elif true; then
        d
      else
        e
      fi
      if [ "${UNKNOWN}" = f ]; then f; fi
      if [ "$N" != 3 ]; then g; elif [[ $N -eq 3 ]]; then h; fi
      if [ -f data.json ]; then i; fi
      if [ -z "$UNKNOWN" ]; then UNKNOWN=j; fi
      if [ ! -n "$UNKNOWN" ]; then k; else $UNKNOWN; fi
      if make; then l; fi
      """
    let read = try ShellScript(script, file: "script")
    #expect(read.commands.map { $0.map(\.text) } == [["a"], ["c"], ["h"], ["j"]])
    #expect(read.findings.map(\.place) == ["line 10", "line 12", "line 15"])
    #expect(read.findings[0].text.contains("depends on UNKNOWN") && read.findings[0].text.hasSuffix("(--set UNKNOWN=…)"), "\(read.findings[0].text)")
    #expect(read.findings[1].text.contains("only running the script tells"), "\(read.findings[1].text)")
  }

  @Test(
    "golden: behind && and || runs what is reached",
    arguments: [
      ("SP=0\n[ $SP = 1 ] && run a\n[ $SP = 0 ] && run b\n[[ $SP == 1 ]] || run c", "run b|run c"),
      ("A=1\n[ $A = 0 ] && A=2\n[ $A = 1 ] && [ $A = 0 ] || A+=3\n[ $A = 0 ] && B=(4) || B=(5)\nrun $A ${B[@]}", "run 13 5"),
      ("cd x && run a\ncd y || exit\n[ 1 = 2 ] &&\n  run b | tee c\nrun d", "cd x|run a|cd y|run d"),
      ("[ 1 = 2 ] && { run a; run b; } || { run c; }\n[ 1 = 1 ] && (run d; run e)\nrun f", "run c|run d|run e|run f"),
      ("A=1\n[[ $A == 1 && $A != 2 ]] && run a\nif [[ $A == 1 &&\n  $A == 2 ]]; then run b; else run c; fi", "run a|run c"),
      ("f() {\n  [ 1 = 2 ] && run a\n  run b\n}\nfor i in 1 2; do run c; done\nrun d", "f|run b|i in 1 2|run c|run d"),
      ("if [ 1 = 1 ]; then A=(1); else A=(2); B=(3); fi\n[ 1 = 2 ] && { A=(4); }\nrun ${A[@]} ${B[@]}", "run 1 ${B[@]}"),
    ])
  func lists(source: String, meant: String) throws {
    #expect(try commands(source).map { $0.joined(separator: " ") }.joined(separator: "|") == meant)
  }

  @Test("golden: what the script does not decide of a list is said")
  func openLists() throws {
    let open = try ShellScript("[ \"$1\" = fast ] && run a\n[ -d x ] || run b\n[ -z \"$2\" ] && run c", file: "script")
    #expect(open.commands.map { $0.map(\.text) } == [["run", "b"], ["run", "c"]])
    #expect(open.findings.map(\.place) == ["line 1", "line 2"] && open.findings[0].text.hasSuffix("(--set 1=…)"), "\(open.findings)")
  }

  @Test("golden: of a case the clause that its word chooses")
  func clauses() throws {
    let script = """
      SIZE=7b
      case "$SIZE" in
        70b) TP=8; PP=4 ;;
        7b | 8b)
          TP=1
          if [ $TP = 1 ]; then ARGS=(--a); fi ;;
        *) TP=2
      esac
      case $SIZE in (13*) run a;; ?*) run b;; *b) run c;; *) run d;; esac && run e
      run $TP $PP ${ARGS[@]}
      """
    #expect(try commands(script) == [["run", "c"], ["run", "e"], ["run", "1", "$PP", "--a"]])
    let open = try ShellScript("case $1 in\na) run a;;\n*) run b;;\nesac\nif false; then case $1 in a) run c;; esac; fi\nrun d", file: "script")
    #expect(open.commands.map { $0.map(\.text) } == [["run", "b"], ["run", "d"]])
    #expect(open.findings.map(\.place) == ["line 1"] && open.findings[0].text.contains("which clause holds depends on 1"), "\(open.findings)")
  }

  @Test("golden: a variable that is set to what nothing sets decides nothing, and is empty")
  func openValues() throws {
    let script = try ShellScript(
      "SIZE=$1\nN=$(nproc)\nif [ $SIZE = 7b ]; then run a; fi\nif [ -z \"$SIZE\" ]; then run b; fi\n[ -z $N ] && run c\n[ '$' = '$' ] && run d",
      file: "script")
    #expect(script.commands.map { $0.map(\.text) } == [["run", "b"], ["run", "d"]])
    #expect(script.findings.map(\.place) == ["line 3", "line 5"] && script.findings[0].text.hasSuffix("(--set SIZE=…)"), "\(script.findings)")
  }

  @Test("golden: each word stands on the line on which it was written")
  func lines() throws {
    let script = try ShellScript("ARGS=(\n  --a 1\n  --b 2\n)\n\nrun ${ARGS[@]} \\\n  --c", file: "script")
    #expect(script.commands.map { $0.map(\.line) } == [[6, 2, 2, 3, 3, 7]])
    let quoted = try ShellScript("A=2\nB=\"\n--a 1 \\\n--b $A\n\"\nC='--c\n 3'\nrun $B $C", file: "script")
    #expect(quoted.commands.map { $0.map(\.text) } == [["run", "--a", "1", "--b", "2", "--c", "3"]])
    #expect(quoted.commands.map { $0.map(\.line) } == [[8, 3, 3, 4, 1, 6, 7]])
  }

  @Test(
    "What is not closed is said to be so, with its line", arguments: ["a\nrun 'b", "a\nrun \"b", "a\nrun $(b", "a\nA=(b", "a\nrun ${b", "a\nrun `b"])
  func unclosed(source: String) {
    #expect {
      try ShellScript(source, file: "script")
    } throws: { "\($0)".hasPrefix("script: line 2: ") && "\($0)".hasSuffix("is not closed") }
  }

  @Test("A script that repeats itself without end is refused")
  func growth() {
    let source = "A=xxxxxxxxxxxxxxxx\n" + String(repeating: "A=\"$A$A$A$A\"\n", count: 40) + "run $A"
    #expect(throws: LaunchError.self) { try ShellScript(source, file: "script") }
  }
}
