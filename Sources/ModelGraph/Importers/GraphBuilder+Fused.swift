// SPDX-License-Identifier: GPL-3.0-or-later

/// Layers that a checkpoint stores together: one `torch.nn.Linear` of which each logical layer reads some rows.
struct FusedLinear {
  /// The module's path: `model.layers.{i}.self_attn.qkv_proj`.
  let path: String
  /// The rows of the stored weight `[rows, in]`, and the entries of the stored bias.
  let rows: Int
  let hasBias: Bool
}

extension GraphBuilder {
  /// One logical layer of a fused one, named `<path>.<part>`: output feature (i₀, i₁, …) is row `first + Σ strides[d] · i_d`.
  ///
  /// - Parameter strides: in rows, one for each axis of `output`; row-major where left out.
  mutating func linear(
    _ fused: FusedLinear, _ part: String, _ x: TensorID, from input: AxisID, to output: [AxisID], first: Int, strides: [Int]? = nil
  ) -> TensorID {
    let path = "\(fused.path).\(part)"
    let columns = extent(input)
    let rows = strides ?? rowMajorStrides(output.map(extent))
    let weight = parameter(
      path + ".weight", output + [input], checkpoint: fused.path + ".weight", shape: [fused.rows, columns], offset: first &* columns,
      strides: rows.map { $0 &* columns } + [1])
    let product = matrixProduct(path, x, weight: weight, from: [input], to: output)
    if !fused.hasBias { return product }
    let bias = parameter(path + ".bias", output, checkpoint: fused.path + ".bias", shape: [fused.rows], offset: first, strides: rows)
    return self.bias(path, product, bias)
  }
}
