// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Testing

@testable import Hardware

/// Constants that may be fitted, and what files say of fits.
@Suite struct ConstantTests {
  private static let text = """
    {
      "format": "tpplan/hardware/1", "name": "n", "source": "made up",
      "devices": {"a100-40": {"peak_TFLOPS": {"bf16": 100}, "memory_GiB": 40, "reserved_GiB": 1, "memory_bandwidth_GBps": 1000,
        "default_dtype": "bf16",
        "efficiency": {"memory": 0.8, "gemm": 0.5, "unfitted": {"gemm": 0.7, "dispatch_us": 0, "source": "assumed"}, "fitted_on": "rows r1"}}},
      "groups": [{"device": "a100-40", "devices_per_node": 4, "nodes": 2}],
      "levels": [
        {"name": "in", "joins": 4, "bandwidth_GBps": 300, "bandwidth_is": "per device, one direction", "latency_us": 1,
         "unfitted": {"latency_us": 3}},
        {"name": "out", "joins": 2, "bandwidth_GBps": 25, "bandwidth_is": "per device, one direction", "latency_us": 5, "efficiency": 0.8}
      ]
    }
    """

  @Test("What was fitted is read, written and taken back")
  func record() throws {
    let file = try decode(Self.text)
    #expect(try HardwareFile(decoding: Document(file: "h.json", value: file.json)) == file)
    #expect(file.family == "a100")
    let record = try #require(file.devices[0].efficiency.fit)
    #expect(record.unfitted("gemm") == 0.7 && record.unfitted("memory") == nil && record.source == "assumed" && record.rows == "rows r1")
    #expect(file.levels[0].fit?.unfitted("latency_us") == 3 && file.levels[1].fit == nil)
    let unfitted = try #require(file.unfitted)
    #expect(unfitted.devices[0].efficiency.gemm == 0.7 && unfitted.devices[0].efficiency.memory == 0.8)
    // A rate of attention that the file leaves open is that of products as it stands there.
    #expect(unfitted.devices[0].efficiency.attention == 0.5)
    #expect(unfitted.levels[0].latency == .microseconds(3) && unfitted.levels[1] == file.levels[1])
    #expect(try decode(threeLevels).unfitted == nil)
  }

  @Test("Every constant can be set to both ends of its range, and reads as it was set", arguments: hardwareFileNames)
  func ranges(_ name: String) throws {
    let file = try hardwareFile(name)
    for place in file.constantPlaces {
      for value in [place.constant.low, place.constant.high] {
        let changed = try file.setting([(place, value)])
        #expect(changed.value(place) == value, "\(place.name)")
        for other in file.constantPlaces where other != place { #expect(changed.value(other) == file.value(other)) }
      }
    }
    #expect(try file.setting(file.constantPlaces.map { ($0, file.value($0)) }) == file)
  }

  @Test("A record that no file may have is refused with its place")
  func refusals() throws {
    func message(_ change: (String, String)) -> String {
      do {
        _ = try decode(Self.text.replacing(change.0, with: change.1))
        return "accepted"
      } catch { return "\(error)" }
    }
    #expect(message(("\"gemm\": 0.7", "\"gem\": 0.7")).contains("$.devices.a100-40.efficiency.unfitted.gem: unknown key; did you mean \"gemm\"?"))
    #expect(message(("\"gemm\": 0.7", "\"gemm\": 1.5")).contains("efficiency.unfitted.gemm: found the number 1.5"))
    #expect(message(("{\"latency_us\": 3}", "{\"latency_us\": -1}")).contains("$.levels[0].unfitted.latency_us: found the number -1"))
    #expect(message(("\"rows r1\"", "7")).contains("efficiency.fitted_on: found the number 7, expected a string"))
  }
}
