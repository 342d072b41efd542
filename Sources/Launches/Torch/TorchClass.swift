// SPDX-License-Identifier: GPL-3.0-or-later

/// A module that torch has not got, as the script defines it. Each is written where a model needs it, in this order.
enum TorchClass: String, CaseIterable {
  case attention = "Attention"
  case rotary = "Rotary"
  case headNorm = "HeadNorm"
  case gemmaNorm = "GemmaNorm"
  case gemmaHeadNorm = "GemmaHeadNorm"
  case quickGELU = "QuickGELU"
  case squaredReLU = "SquaredReLU"
  case add = "Add"
  case multiply = "Multiply"
  case scale = "Scale"
  case patches = "Patches"
  case prependToken = "PrependToken"
  case selectToken = "SelectToken"
  case crossEntropy = "CrossEntropy"

  /// The class that it extends.
  var base: TorchClass? { self == .gemmaHeadNorm ? .gemmaNorm : nil }

  var source: String {
    switch self {
    case .attention:
      #"""
      class Attention(nn.Module):
          """Over heads that are one dimension: [batch, sequence, heads * size]. Fewer keys' heads than queries' are shared."""

          def __init__(self, size, causal):
              super().__init__()
              self.size, self.causal, self.recompute = size, causal, False

          def forward(self, query, key, value, mask=None):
              if self.recompute and torch.is_grad_enabled():
                  return checkpoint(self.run, query, key, value, mask, use_reentrant=False)
              return self.run(query, key, value, mask)

          def run(self, query, key, value, mask):
              query, key, value = (t.unflatten(-1, (-1, self.size)).transpose(1, 2) for t in (query, key, value))
              causal = self.causal
              if mask is not None:
                  mask = mask[:, None, None, :].bool()
                  if causal:
                      mask, causal = mask & torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=mask.device).tril(), False
              shared = query.shape[1] != key.shape[1]
              result = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal, enable_gqa=shared)
              return result.transpose(1, 2).flatten(-2)
      """#
    case .rotary:
      #"""
      class Rotary(nn.Module):
          """Rotates the first features of each head by its position; feature i goes with feature i + rotated / 2."""

          def __init__(self, size, base, rotated=None, scaling=None):
              super().__init__()
              self.size, self.base, self.rotated, self.scaling = size, base, rotated or size, scaling

          def frequencies(self, device):
              found = 1.0 / self.base ** (torch.arange(0, self.rotated, 2, dtype=torch.int64, device=device).float() / self.rotated)
              if self.scaling is None:
                  return found
              # Llama 3: low frequencies are divided by a factor, with a ramp between low and high ones.
              factor, low, high, positions = self.scaling
              waves = positions * found / (2 * torch.pi)
              ramp = ((waves - low) / (high - low)).clamp(0, 1)
              return (1 - ramp) * found / factor + ramp * found

          def forward(self, x):
              heads = x.unflatten(-1, (-1, self.size))
              angles = torch.outer(torch.arange(x.shape[1], device=x.device).float(), self.frequencies(x.device))[:, None]
              first, second, rest = heads.split([self.rotated // 2, self.rotated // 2, self.size - self.rotated], -1)
              cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
              return torch.cat((first * cosine - second * sine, second * cosine + first * sine, rest), -1).flatten(-2)
      """#
    case .headNorm:
      #"""
      class HeadNorm(nn.RMSNorm):
          """Of each head by itself."""

          def forward(self, x):
              return super().forward(x.unflatten(-1, (-1, *self.normalized_shape))).flatten(-2)
      """#
    case .gemmaNorm:
      #"""
      class GemmaNorm(nn.Module):
          """RMS norm that scales by 1 + weight."""

          def __init__(self, size, eps):
              super().__init__()
              self.weight, self.eps = nn.Parameter(torch.zeros(size)), eps

          def forward(self, x):
              return F.rms_norm(x, self.weight.shape, 1 + self.weight, self.eps)
      """#
    case .gemmaHeadNorm:
      #"""
      class GemmaHeadNorm(GemmaNorm):
          """Of each head by itself."""

          def forward(self, x):
              return super().forward(x.unflatten(-1, (-1, *self.weight.shape))).flatten(-2)
      """#
    case .quickGELU:
      #"""
      class QuickGELU(nn.Module):
          def forward(self, x):
              return x * torch.sigmoid(1.702 * x)
      """#
    case .squaredReLU:
      #"""
      class SquaredReLU(nn.Module):
          def forward(self, x):
              return F.relu(x) ** 2
      """#
    case .add:
      #"""
      class Add(nn.Module):
          def forward(self, x, y):
              return x + y
      """#
    case .multiply:
      #"""
      class Multiply(nn.Module):
          def forward(self, x, y):
              return x * y
      """#
    case .scale:
      #"""
      class Scale(nn.Module):
          def __init__(self, factor):
              super().__init__()
              self.factor = factor

          def forward(self, x):
              return x * self.factor
      """#
    case .patches:
      #"""
      class Patches(nn.Module):
          """Square patches in rows, each as a convolution reads it."""

          def __init__(self, size):
              super().__init__()
              self.size = size

          def forward(self, pixels):
              return F.unfold(pixels, self.size, stride=self.size).transpose(1, 2)
      """#
    case .prependToken:
      #"""
      class PrependToken(nn.Module):
          """A learned token before the sequence."""

          def __init__(self, size):
              super().__init__()
              self.weight = nn.Parameter(torch.zeros(size))

          def forward(self, x):
              return torch.cat((self.weight.expand(x.shape[0], 1, -1), x), 1)
      """#
    case .selectToken:
      #"""
      class SelectToken(nn.Module):
          def __init__(self, position):
              super().__init__()
              self.position = position

          def forward(self, x):
              return x[:, self.position]
      """#
    case .crossEntropy:
      #"""
      class CrossEntropy(nn.Module):
          """This rank's part of the mean over all labels of the global batch."""

          def __init__(self, labels):
              super().__init__()
              self.labels = labels

          def forward(self, logits, labels):
              return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="sum") / self.labels
      """#
    }
  }
}
