// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Testing

extension MPIRuns {
  struct CommunicatorTests {
    @Test("oracle: every collective is its definition", arguments: [1, 2, 4], [11])
    func collectives(ranks: Int, seed: Int) throws {
      let run = try ProbeRun(ranks: ranks, ["collectives", "\(seed)"])
      #expect(run.outcome == .finished(status: 0))
      #expect(try run.ranks == Array(repeating: [], count: ranks))
      #expect(run.diagnostics == [])
    }

    @Test("oracle: collectives by MPI alone, as between hosts")
    func collectivesByMPI() throws {
      let run = try ProbeRun(ranks: 2, ["collectives", "13"], environment: [("TPPLAN_REDUCTION", "mpi")])
      #expect(try run.ranks == [[], []])
    }

    @Test("oracle: a ring of messages, a broadcast and a gather", arguments: [1, 2, 4])
    func messages(ranks: Int) throws {
      #expect(try ProbeRun(ranks: ranks, ["messages"]).ranks == Array(repeating: [], count: ranks))
    }

    @Test("golden: the ledger counts each kind's bytes as a plan does")
    func traffic() throws {
      let both = ["all-reduce 2 440", "all-gather 1 800", "reduce-scatter 1 800", "all-to-all 1 56"]
      #expect(try ProbeRun(ranks: 2, ["traffic"]).ranks == [both + ["send-receive 1 400"], both + ["send-receive 0 0"]])
      let nothing = ["all-reduce", "all-gather", "reduce-scatter", "all-to-all", "send-receive"].map { "\($0) 0 0" }
      #expect(try ProbeRun(ranks: 1, ["traffic"]).ranks == [nothing])
    }
  }
}
