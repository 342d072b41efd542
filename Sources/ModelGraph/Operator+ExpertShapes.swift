// SPDX-License-Identifier: GPL-3.0-or-later

extension Operator {
  /// Checks the dimensions of the operators of a mixture of experts.
  ///
  /// - Throws: `ModelError.inconsistent` that names the operator and what does not agree.
  func checkExpertShapes(axes: [Axis], tensors: [Tensor]) throws {
    func dims(_ operand: Int) -> [AxisID] { tensors[operands[operand]].dimensions }
    func text(_ dimensions: [AxisID]) -> String { "[" + dimensions.map { axes[$0].name }.joined(separator: ", ") + "]" }
    func expect(_ condition: Bool, _ problem: @autoclosure () -> String) throws {
      if !condition { throw ModelError.inconsistent(where: name, problem: problem()) }
    }
    let out = tensors[result].dimensions

    switch kind {
    case .route(let perToken, _):
      let logits = dims(0)
      try expect(
        logits.count == 3 && logits.last.map { axes[$0].role } == .experts,
        "routes by logits \(text(logits)); expected [batch, positions, experts], the last of role experts")
      try expect(
        perToken <= axes[logits[2]].extent, "sends each token to \(perToken) of \(axes[logits[2]].extent) experts; top_k is at most their number")
      try expect(
        out.count == 3 && out.dropLast() == logits.dropLast() && axes[out[2]].role == .whole && axes[out[2]].extent == 2 * perToken,
        "gives \(text(out)); expected \(text(Array(logits.dropLast()))) and an axis of role whole and extent \(2 * perToken), for top_k weights and numbers"
      )
    case .dispatch:
      try expect(dims(0).count == 3, "dispatches \(text(dims(0))); expected [batch, positions, features]")
      try checkPlaces(places: out, tokens: dims(0), routes: dims(1), axes: axes)
    case .combine:
      try expect(out.count == 3, "gives \(text(out)); expected [batch, positions, features]")
      try checkPlaces(places: dims(0), tokens: out, routes: dims(1), axes: axes)
    case .expertLinear:
      let (x, weight) = (dims(0), dims(1))
      try expect(
        x.count > 1 && weight.count > 2 && x[0] == weight[0] && axes[x[0]].role == .experts,
        "multiplies \(text(x)) by \(text(weight)); both must begin with one axis of role experts")
      let inner = weight.dropFirst()
      let contracted = inner.filter { x.contains($0) }
      let produced = inner.filter { !x.contains($0) }
      try expect(
        !contracted.isEmpty && !produced.isEmpty, "the weight \(text(weight)) must share an axis with x \(text(x)), beside the experts, and add one")
      try expect(
        Array(inner) == contracted + produced || Array(inner) == produced + contracted,
        "the weight \(text(weight)) must hold all inputs before all outputs or the reverse")
      try expect(
        Array(x.suffix(contracted.count)) == contracted && out == x.dropLast(contracted.count) + produced,
        "\(text(x)) × \(text(weight)) cannot give \(text(out))")
    default: preconditionFailure("\(kind.formatName) is no operator of a mixture of experts")
    }
  }

  /// Checks that tokens `[b, s, h]` stand at experts as `[e, b, c, h]`, c being the places that the routes `[b, s, 2k]` need.
  private func checkPlaces(places: [AxisID], tokens: [AxisID], routes: [AxisID], axes: [Axis]) throws {
    func text(_ dimensions: [AxisID]) -> String { "[" + dimensions.map { axes[$0].name }.joined(separator: ", ") + "]" }
    guard routes.count == 3, routes.dropLast() == tokens.dropLast(), axes[routes[2]].role == .whole, axes[routes[2]].extent % 2 == 0 else {
      throw ModelError.inconsistent(
        where: name, problem: "takes routes \(text(routes)) of tokens \(text(tokens)); expected those of a route over the same batch and positions")
    }
    guard places.count == 4, axes[places[0]].role == .experts, places[1] == tokens[0], places[3] == tokens[2],
      let slots = axes[places[2]].slots,
      slots == Axis.Slots(positions: tokens[1], experts: places[0], perToken: axes[routes[2]].extent / 2)
    else {
      throw ModelError.inconsistent(
        where: name,
        problem: "tokens \(text(tokens)) stand at experts as \(text(places)); expected [experts, batch, slots, features], with the slots of these "
          + "positions, experts and \(axes[routes[2]].extent / 2) experts for each token")
    }
  }
}
