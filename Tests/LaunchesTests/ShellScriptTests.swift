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
