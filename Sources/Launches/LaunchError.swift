// SPDX-License-Identifier: GPL-3.0-or-later

/// Why a file is no launch of its format.
package struct LaunchError: Error, Hashable, Sendable, CustomStringConvertible {
  package var file: String
  /// Where it stands in the file: `line 12`, `parallelism.tensor_parallel_degree`; nil: the file as a whole.
  package var place: String?
  package var problem: String

  package init(file: String, place: String? = nil, _ problem: String) { (self.file, self.place, self.problem) = (file, place, problem) }

  package var description: String { "\(file): \(place.map { $0 + ": " } ?? "")\(problem)" }
}
