// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Quantities
import Testing

@testable import Hardware

/// What a calibrated file says beside other files.
@Suite struct CalibrationRecordTests {
  private let text = """
    {
      "format": "tpplan/hardware/1", "name": "local", "source": "measured",
      "devices": {"core": {"peak_TFLOPS": {"fp32": 0.1}, "memory_GiB": 8, "memory_bandwidth_GBps": 20, "default_dtype": "fp32",
                           "process_overhead_MiB": 35,
                           "efficiency": {"gemm": 1, "gemm_half_depth": 8, "gemm_half_rows": 14, "gemm_half_columns": 16, "attention": 0.5,
                                          "attention_backward": 0.25, "attention_block": 64, "exponentials_Gops": 2, "memory": 0.5, "optimizer": 1}}},
      "groups": [{"device": "core", "devices_per_node": "any", "nodes": 1}],
      "levels": [{"name": "memory", "joins": "any", "bandwidth_GBps": 10, "bandwidth_is": "per device, one direction", "latency_us": 1,
                  "pattern_efficiency": {"all-gather": 0.5, "message": 0.25}}],
      "calibration": {"machine": "a processor", "cores": 2, "blas": "OpenBLAS", "mpi": "Open MPI", "date": "2026-02-28", "ranks": 2, "quick": false,
                      "load": 0.5, "spread": 0.02, "hidden_share": 0.25,
                      "fits": [{"name": "matrix products", "measurements": 100, "median_error": 0.01, "worst_error": 0.1}],
                      "collectives": [{"kind": "all-reduce", "ranks": 2, "latency_us": 1, "bandwidth_GBps": 8}]}
    }
    """

  @Test("A calibrated file is read, and comes back from its own JSON")
  func roundTrip() throws {
    let file = try decode(text)
    let record = try #require(file.calibration)
    #expect(record.collectives == [.init(pattern: .allReduce, ranks: 2, microseconds: 1, gigabytesPerSecond: 8)])
    #expect(record.fits[0].measurements == 100 && record.hidden == 0.25 && record.date == "2026-02-28" && !record.isQuick)
    let device = file.devices[0]
    #expect(device.processOverhead == Bytes(35 * 1_048_576) && device.efficiency.exponentials == 2e9)
    #expect(device.efficiency.attentionBackward == 0.25 && device.efficiency.optimizer == 1 && device.efficiency.attentionBlock == 64)
    #expect(file.levels[0].patterns[.allGather] == 0.5 && file.levels[0].patterns[.allReduce] == 1)
    #expect(try decode(String(decoding: file.json.prettyBytes, as: UTF8.self)) == file)
    // A message between ranks has its own share of the rate; the level's other figures stand.
    #expect(try file.cluster(devices: 2).link(from: 0, to: 1).bandwidth == .gigabytesPerSecond(2.5))
    #expect(try file.cluster(devices: 2).placement(stride: 1, size: 2, devices: 0..<2).steps[0].patterns == file.levels[0].patterns)
  }

  @Test("Files without any of it say the same as before")
  func neutral() throws {
    let file = try decode(threeLevels)
    #expect(file.calibration == nil && file.levels.allSatisfy { $0.patterns == .even })
    let keys = [
      "calibration", "pattern_efficiency", "process_overhead_MiB", "gemm_half_rows", "attention_backward", "exponentials_Gops", "optimizer",
    ]
    for key in keys { #expect(!String(decoding: file.json.canonicalBytes, as: UTF8.self).contains(key)) }
    let e = KernelEfficiency(gemm: 0.5, gemmHalfDepth: 128, attention: 0.5, memory: 0.75, source: nil)
    #expect(e.attentionBackward == 0.5 && e.optimizer == 0.75 && e.exponentials == .infinity)
    #expect(e.gemm(rows: 3, columns: 5, depth: 384) == e.gemm(depth: 384))
  }

  @Test("The share of a product's rate, worked by hand: 1 / (1 + 8/32 + 14/56 + 16/32) = 1/2")
  func products() throws {
    #expect(try decode(text).devices[0].efficiency.gemm(rows: 56, columns: 32, depth: 32) == 0.5)
  }

  @Test(
    "Each change of the text is refused with its place",
    arguments: [
      ("\"ranks\": 2, \"quick\"", "\"ranks\": 0, \"quick\"", "$.calibration.ranks: found the number 0"),
      ("\"date\": \"2026-02-28\"", "\"date\": \"28 February\"", "$.calibration.date: found the string \"28 February\", expected a date"),
      ("\"date\": \"2026-02-28\"", "\"date\": \"2026-13-28\"", "$.calibration.date"),
      ("\"cores\": 2", "\"core\": 2", "$.calibration: the key \"cores\" is missing; the unknown key \"core\" is close"),
      ("\"load\": 0.5", "\"load\": -1", "$.calibration.load: found the number -1"),
      ("\"spread\": 0.02", "\"spread\": 0.02, \"host\": \"here\"", "$.calibration.host: unknown key"),
      ("\"kind\": \"all-reduce\"", "\"kind\": \"reduce\"", "$.calibration.collectives[0].kind: found the string \"reduce\""),
      ("\"measurements\": 100", "\"measurements\": 0", "$.calibration.fits[0].measurements: found the number 0"),
      ("\"all-gather\": 0.5", "\"all-gather\": 1.5", "$.levels[0].pattern_efficiency.all-gather: found the number 1.5"),
      ("\"all-gather\": 0.5", "\"gather\": 0.5", "$.levels[0].pattern_efficiency.gather: unknown key"),
      ("\"optimizer\": 1", "\"optimizer\": 2", "$.devices.core.efficiency.optimizer: found the number 2"),
      ("\"process_overhead_MiB\": 35", "\"process_overhead_MiB\": -1", "$.devices.core.process_overhead_MiB"),
    ])
  func refuses(old: String, new: String, message: String) throws {
    let changed = text.replacing(old, with: new)
    #expect(changed != text)
    #expect {
      try decode(changed)
    } throws: { error in
      "\(error)".contains(message)
    }
  }
}
