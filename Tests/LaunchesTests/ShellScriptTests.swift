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
      if [ -n "${UNKNOWN}" ]; then f; fi
      if [ "$N" != 3 ]; then g; elif [[ $N -eq 3 ]]; then h; fi
      """
    let read = try ShellScript(script, file: "script")
    #expect(read.commands.map { $0.map(\.text) } == [["a"], ["c"], ["h"]])
    #expect(read.findings.map(\.place) == ["line 10"])
  }

  @Test("golden: each word stands on the line on which it was written")
  func lines() throws {
    let script = try ShellScript("ARGS=(\n  --a 1\n  --b 2\n)\n\nrun ${ARGS[@]} \\\n  --c", file: "script")
    #expect(script.commands.map { $0.map(\.line) } == [[6, 2, 2, 3, 3, 7]])
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
