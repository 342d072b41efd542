// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// A time line for Perfetto and chrome://tracing: processes with tracks, and events on them.
///
/// The file has the Trace Event Format's JSON Object Format (Google, "Trace Event Format", 2016).
package struct Trace: Sendable {
  package struct Track: Hashable, Sendable {
    package let process: Int
    package let number: Int

    package init(process: Int, number: Int) { (self.process, self.number) = (process, number) }
  }

  package struct Event: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
      /// Those of one track lie in each other or apart.
      case complete
      /// May overlap others of its track; the number is the event's own.
      case async(Int)
      /// An arrow's two ends, which have one number and one name: each from or to the complete event of its track that is there then.
      case arrowStart(Int)
      case arrowEnd(Int)
      /// The arguments are numbers that hold from now on.
      case counter
    }

    package var kind = Kind.complete
    package let name: String
    /// Separated by commas.
    package let categories: String
    package let track: Track
    /// Nanoseconds since the step began.
    package let start: Int
    package let end: Int
    package var arguments: JSON.Object

    package init(
      kind: Kind = .complete, name: String, categories: String, track: Track, start: Int, end: Int, arguments: JSON.Object = JSON.Object()
    ) {
      (self.kind, self.name, self.categories, self.track) = (kind, name, categories, track)
      (self.start, self.end, self.arguments) = (start, max(start, end), arguments)
    }
  }

  /// By number, from 1 on.
  package private(set) var processes: [String]
  package private(set) var tracks: [(track: Track, name: String)] = []
  package private(set) var events: [Event] = []
  /// What is said of the trace as a whole.
  package var remarks = JSON.Object()

  package init(processes: [String] = []) { self.processes = processes }

  /// - Returns: its number.
  package mutating func addProcess(named name: String) -> Int {
    processes.append(name)
    return processes.count
  }

  package mutating func addTrack(process: Int, named name: String) -> Track {
    let track = Track(process: process, number: tracks.count { $0.track.process == process })
    tracks.append((track, name))
    return track
  }

  package mutating func add(_ event: Event) { events.append(event) }

  // MARK: - The file

  package var json: JSON {
    let names =
      processes.enumerated().flatMap { index, name in
        [
          metadata("process_name", ["name": .string(name)], process: index + 1),
          metadata("process_sort_index", ["sort_index": .int(index)], process: index + 1),
        ]
      }
      + tracks.flatMap { track, name in
        [
          metadata("thread_name", ["name": .string(name)], process: track.process, track: track.number),
          metadata("thread_sort_index", ["sort_index": .int(track.number)], process: track.process, track: track.number),
        ]
      }
    return [
      "traceEvents": .array(names + records.map(\.json)), "displayTimeUnit": "ms", "otherData": .object(remarks),
    ]
  }

  private func metadata(_ name: String, _ arguments: JSON, process: Int, track: Int = 0) -> JSON {
    ["ph": "M", "name": .string(name), "pid": .int(process), "tid": .int(track), "args": arguments]
  }

  /// What stands in the file by itself: an event, or the beginning or the end of one.
  private struct Record {
    let time: Int
    let duration: Int
    let json: JSON
  }

  /// By time; what begins at once, the longest first, which holds the others.
  private var records: [Record] {
    events.flatMap { event -> [Record] in
      var object = JSON.Object([
        ("name", .string(event.name)), ("cat", .string(event.categories)), ("pid", .int(event.track.process)), ("tid", .int(event.track.number)),
      ])
      func record(_ phase: JSON, at time: Int, duration: Int = 0) -> Record {
        object["ph"] = phase
        object["ts"] = Self.microseconds(time)
        return Record(time: time, duration: duration, json: .object(object))
      }
      switch event.kind {
      case .complete:
        object["dur"] = Self.microseconds(event.end - event.start)
        object["args"] = .object(event.arguments)
        return [record("X", at: event.start, duration: event.end - event.start)]
      case .async(let number):
        object["id"] = .int(number)
        let end = record("e", at: event.end)
        object["args"] = .object(event.arguments)
        return [record("b", at: event.start), end]
      case .arrowStart(let number):
        object["id"] = .int(number)
        return [record("s", at: event.start)]
      case .arrowEnd(let number):
        object["id"] = .int(number)
        // To the event that is there, not to the next one that begins.
        object["bp"] = "e"
        return [record("f", at: event.start)]
      case .counter:
        object["args"] = .object(event.arguments)
        return [record("C", at: event.start)]
      }
    }.enumerated().sorted { a, b in
      (a.element.time, -a.element.duration, a.offset) < (b.element.time, -b.element.duration, b.offset)
    }.map(\.element)
  }

  /// The format's unit; whole nanoseconds are three digits after the point.
  private static func microseconds(_ nanoseconds: Int) -> JSON { .double(Double(nanoseconds) / 1000) }

  /// Writes the file whole or not at all.
  package func write(to path: String) throws(DocumentError) { try atomicWrite(json.canonicalBytes, to: path) }
}
