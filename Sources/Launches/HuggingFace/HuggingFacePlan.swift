// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import ModelGraph
import Planner

/// Tensor-parallel plans of Hugging Face transformers: an object of module patterns with their styles, alone, under `tp_plan` (beside `tp_size`, as in a
/// `DistributedConfig`), or under `base_model_tp_plan` in a model's `config.json`. Also as Python has them: a dictionary, or a file that assigns one to these
/// names (`configuration_*.py`).
package enum HuggingFacePlan {
  /// The keys under which a plan stands.
  private static let plans = ["tp_plan", "base_model_tp_plan"]
  /// What stands beside a plan in a configuration, and is no part of the model.
  private static let beside = ["tp_size", "base_model_pp_plan", "base_model_ep_plan", "distributed_config"]

  /// What a plan says; of a `config.json`, the model too. Without a size all devices are tensor-parallel, as in transformers.
  ///
  /// - Throws: `DocumentError.syntax`, `LaunchError` for a text without a plan; as `ModelReader.decode` for the model.
  package static func reading(_ source: String, file: String) throws -> Launch {
    var object = try object(source, file: file)
    var launch = Launch(.huggingFace)
    launch.styles = try styles(object, file: file)
    if let size = object["tp_size"], size != .null {
      guard case .int(let degree) = size, 1...1 << 20 ~= degree else {
        throw LaunchError(file: file, place: "tp_size", "found \(size.summary), expected a whole number above 0")
      }
      launch.degrees.tensor = degree
    } else {
      launch.leavesTensorOpen = true
      launch.leavesDataOpen = false
    }
    if object["model_type"] != nil {
      for key in plans + beside { object[key] = nil }
      launch.graph = try ModelReader.decode(Document(file: file, value: .object(object)).root)
      launch.precision = precision(object)
    }
    return withSource(launch)
  }

  /// A size is all that is written otherwise.
  private static func withSource(_ launch: Launch) -> Launch {
    var result = launch
    result.source = LaunchSource(
      contains: { $0 == "tp_size" && !launch.leavesTensorOpen },
      edited: { edits, _ in
        var edited = launch
        for case .int(let size)? in edits.filter({ $0.setting == "tp_size" }).map(\.value) {
          (edited.degrees.tensor, edited.leavesTensorOpen, edited.leavesDataOpen) = (size, false, true)
        }
        return withSource(edited)
      })
    return result
  }

  private static func object(_ source: String, file: String) throws -> JSON.Object {
    if source.first(where: { !$0.isWhitespace }) == "{" {
      do {
        let value = try Document(file: file, parsing: source.utf8).value
        guard case .object(let object) = value else { throw LaunchError(file: file, "found \(value.summary), expected a plan: an object") }
        return object
      } catch let error as DocumentError {
        // Python's own notation: apostrophes, comments, a comma at the end.
        var reader = PythonReader(source, file: file)
        guard let literal = try? reader.whole(), case .object(let object)? = json(literal) else { throw error }
        return object
      }
    }
    var reader = PythonReader(source, file: file)
    guard let (name, literal) = try reader.member(of: plans) else {
      throw LaunchError(file: file, "has no tensor-parallel plan: neither an object nor an assignment to tp_plan or base_model_tp_plan")
    }
    guard case .object(let plan)? = json(literal) else {
      throw LaunchError(file: file, place: name, "is no dictionary of module patterns with their styles")
    }
    return JSON.Object([(name, .object(plan))])
  }

  /// Nil for what JSON has not.
  private static func json(_ literal: PythonLiteral) -> JSON? {
    switch literal {
    case .text(let text): return .string(text)
    case .number(let number): return .int(number)
    case .nothing: return .null
    case .bool(let value): return .bool(value)
    case .list(let elements), .tuple(let elements):
      let values = elements.compactMap(json)
      return values.count == elements.count ? .array(values) : nil
    case .dictionary(let entries):
      let members = entries.compactMap { entry in json(entry.value).map { (entry.key, $0) } }
      return members.count == entries.count ? .object(JSON.Object(members)) : nil
    case .call: return nil
    }
  }

  private static func styles(_ object: JSON.Object, file: String) throws -> [ModuleStyle] {
    var found: [ModuleStyle] = []
    var isStated = false
    for key in plans {
      guard let plan = object[key], plan != .null else { continue }
      guard case .object(let members) = plan else {
        if plan == "auto" { throw LaunchError(file: file, place: key, "\"auto\" is the plan that the model's own code has; write that out") }
        throw LaunchError(file: file, place: key, "found \(plan.summary), expected an object of module patterns with their styles")
      }
      isStated = true
      found += try styles(members, key, file: file)
    }
    if isStated { return found }
    guard object["model_type"] == nil else {
      throw LaunchError(file: file, "has no tensor-parallel plan: neither tp_plan nor base_model_tp_plan")
    }
    return try styles(object, nil, file: file)
  }

  private static func styles(_ object: JSON.Object, _ key: String?, file: String) throws -> [ModuleStyle] {
    try object.members.filter { key != nil || !beside.contains($0.key) }.map { member in
      guard case .string(let style) = member.value else {
        throw LaunchError(
          file: file, place: key.map { "\($0)[\"\(member.key)\"]" } ?? member.key,
          "found \(member.value.summary), expected a style, such as \"colwise\"")
      }
      return ModuleStyle(member.key, style)
    }
  }

  private static func precision(_ object: JSON.Object) -> Precision? {
    guard case .string(let name)? = object["dtype"] ?? object["torch_dtype"] else { return nil }
    return ["bfloat16": .bf16, "float16": .fp16, "float32": .fp32][name]
  }
}
