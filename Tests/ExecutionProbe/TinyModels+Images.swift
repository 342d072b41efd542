// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

extension TinyModel {
  /// With statistics of each micro-batch: convolutions with and without a stride, batch norms, both kinds of pooling and a shortcut, on images of 12 × 10 pixels.
  static func resnet(batch: Int, layers: Int, width: Int, classes: Int) throws -> Graph {
    var builder = GraphBuilder(name: "resnet")
    builder.workload = Workload(batch: batch)
    builder.isPerMicroBatch = true
    let b = builder.axis("batch", batch, .batch)
    let (rgb, c, inner) = (builder.axis("rgb", 3, .whole), builder.axis("channels", width, .feature), builder.axis("inner", width + 3, .feature))
    let labels = builder.axis("classes", classes, .vocabulary)
    func image(_ height: Int, _ width: Int) -> [AxisID] {
      [builder.axis("h\(height)", height, .whole), builder.axis("w\(width)", width, .whole)]
    }
    func kernel(_ size: Int) -> [AxisID] { [builder.axis("kh\(size)", size, .whole), builder.axis("kw\(size)", size, .whole)] }
    let (whole, half, quarter) = (image(12, 10), image(6, 5), image(3, 3))
    let (three, one) = (kernel(3), kernel(1))
    func convolution(
      _ name: String, _ x: TensorID, _ from: AxisID, _ to: AxisID, _ kernel: [AxisID], stride: Int, padding: Int, _ out: [AxisID]
    ) -> TensorID {
      let weight = builder.parameter(name + ".weight", stored: [to, from, kernel[0], kernel[1]].map { [$0] })
      return builder.apply(.convolution(stride: stride, padding: padding), name, [x, weight], to: [b, to] + out)
    }
    func norm(_ name: String, _ x: TensorID) -> TensorID {
      let dimensions = builder.tensors[x].dimensions
      let weight = builder.parameter(name + ".weight", stored: [[dimensions[1]]], isNormWeight: true)
      let bias = builder.parameter(name + ".bias", stored: [[dimensions[1]]])
      return builder.apply(.batchNorm(epsilon: 1e-5), name, [x, weight, bias], to: dimensions)
    }

    builder.begin(segment: "stem")
    let pixels = builder.input(.pixelValues, [b, rgb] + whole)
    let stem = norm("bn1", convolution("conv1", pixels, rgb, c, three, stride: 2, padding: 1, half))
    let relu = builder.elementwise(.activation(.relu), "relu", stem)
    builder.end(exits: [builder.apply(.maxPool(size: 3, stride: 2, padding: 1), "maxpool", [relu], to: [b, c] + quarter)])

    let path = "layer.{i}"
    let x = builder.begin(segment: "block", repeats: layers, path: path, carry: [b, c] + quarter)
    let narrow = norm(path + ".bn1", convolution(path + ".conv1", x, c, inner, one, stride: 1, padding: 0, quarter))
    let active = builder.elementwise(.activation(.relu), path + ".relu1", narrow)
    let wide = norm(path + ".bn2", convolution(path + ".conv2", active, inner, c, three, stride: 1, padding: 1, quarter))
    builder.end(exits: [builder.elementwise(.activation(.relu), path + ".relu2", builder.add(path + ".add", wide, x))])

    let last = builder.begin(segment: "head", path: "head", carry: [b, c] + quarter)
    let pooled = builder.apply(.averagePool, "avgpool", [last], to: [b, c])
    builder.logits(builder.linear("fc", pooled, from: [c], to: [labels], bias: true))
    builder.end()
    return try builder.finish()
  }
}
