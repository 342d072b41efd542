// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// The memory that new processes can get on this machine.
struct HostMemory: Equatable {
  /// What the system could give without swapping, or what this process's control groups leave of their limits, where that is less; nil
  /// where neither can be read.
  var availableBytes: Int?

  static func current() -> HostMemory {
    HostMemory(availableBytes: available(meminfo: "/proc/meminfo", cgroup: "/proc/self/cgroup", groups: "/sys/fs/cgroup"))
  }

  static func available(meminfo: String, cgroup: String, groups: String) -> Int? {
    ([systemBytes(meminfo: meminfo)] + groupRests(cgroup: cgroup, groups: groups)).compactMap { $0 }.min()
  }

  /// `MemAvailable:   24080124 kB`
  private static func systemBytes(meminfo path: String) -> Int? {
    guard let text = try? String(contentsOfFile: path, encoding: .utf8),
      let line = text.split(separator: "\n").first(where: { $0.hasPrefix("MemAvailable:") }),
      let kilobytes = line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap({ Int($0) })
    else { return nil }
    return kilobytes * 1024
  }

  /// What is left of the limit of each control group that this process is in, and of those around it: `0::/a/b` is version 2,
  /// `4:memory:/a/b` version 1. Inside a container the same group is the root of what is mounted, so that is looked at too.
  private static func groupRests(cgroup path: String, groups root: String) -> [Int] {
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return [] }
    var rests: [Int] = []
    for line in text.split(separator: "\n") {
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { continue }
      let isVersion2 = fields[1].isEmpty
      guard isVersion2 || fields[1].split(separator: ",").contains("memory") else { continue }
      var folder = fields[2].split(separator: "/").map(String.init)
      while true {
        let place = ([root] + (isVersion2 ? [] : ["memory"]) + folder).joined(separator: "/")
        if let rest = rest(of: place, isVersion2: isVersion2) { rests.append(rest) }
        if folder.popLast() == nil { break }
      }
    }
    return rests
  }

  /// A group's limit less what it uses; cached files count as used there, but are given up when memory is needed.
  private static func rest(of group: String, isVersion2: Bool) -> Int? {
    func number(_ file: String) -> Int? {
      (try? String(contentsOfFile: "\(group)/\(file)", encoding: .utf8)).flatMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
    }
    // "max" is no number, and no limit.
    guard let limit = number(isVersion2 ? "memory.max" : "memory.limit_in_bytes"),
      let used = number(isVersion2 ? "memory.current" : "memory.usage_in_bytes")
    else { return nil }
    let key = isVersion2 ? "inactive_file " : "total_inactive_file "
    let statistics = (try? String(contentsOfFile: "\(group)/memory.stat", encoding: .utf8)) ?? ""
    let cached = statistics.split(separator: "\n").first { $0.hasPrefix(key) }.flatMap { Int($0.dropFirst(key.count)) } ?? 0
    return max(0, limit - used + cached)
  }
}
