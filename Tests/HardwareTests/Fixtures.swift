// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation

@testable import Hardware

/// The package's folder, found from this file.
let packageFolder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

/// The names of the files in hardware/, sorted.
let hardwareFileNames: [String] = ((try? FileManager.default.contentsOfDirectory(atPath: packageFolder + "/hardware")) ?? [])
  .filter { $0.hasSuffix(".json") }.sorted()

func hardwareFile(_ name: String) throws -> HardwareFile { try HardwareFile(readingFrom: "\(packageFolder)/hardware/\(name)") }

/// A file with round figures: nodes of 4 devices, switched 300 GB/s inside, 100 GB/s per node between, 2 pods of `nodes` nodes.
let threeLevels = """
  {
    "format": "tpplan/hardware/1", "name": "three", "source": "made up",
    "devices": {"d": {"peak_TFLOPS": {"bf16": 100, "fp32": 10}, "memory_GiB": 40, "reserved_GiB": 1,
                      "memory_bandwidth_GBps": 1000, "default_dtype": "bf16"}},
    "groups": [{"device": "d", "devices_per_node": 4, "nodes": 6}],
    "levels": [
      {"name": "nvlink", "joins": 4, "bandwidth_GBps": 300, "bandwidth_is": "per device, one direction", "latency_us": 1, "startup_us": 10},
      {"name": "leaf", "joins": 3, "bandwidth_GBps": 100, "bandwidth_is": "per node, one direction", "latency_us": 5},
      {"name": "spine", "joins": 2, "bandwidth_GBps": 20, "bandwidth_is": "per node, one direction", "latency_us": 9, "efficiency": 0.5}
    ]
  }
  """

func decode(_ text: String) throws -> HardwareFile { try HardwareFile(decoding: Document(file: "h.json", parsing: text.utf8)) }
