// A fewstep policy, from an observation and noise to a chunk: normaliser, encoder of states, sampler and network. What
// differs from policy to policy are the constants, and the weights in chunk.bin.
//
// Activations are rows of channels, one row per action, with PAD rows of zeros before and after. A convolution over the
// horizon is then a matrix product whose left rows overlap in memory: row t begins kernel / 2 rows before t.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

#include "chunk.h"

namespace {

enum { LINEAR, ANGLE, QUATERNION };
enum { PLAIN, MISH, NORM };            // what becomes of a product; after NORM there is mish, too
enum { CODE, FILM, INPUT, OUTPUT };    // rows that are read or written here
struct Field {
  int kind, size, measured_by;  // the state that an action is a difference from, or -1
};
struct Shape {
  int count, channels;
};
struct Operation {  // rows of `to` from rows of `from`: times a layer's weights, or as they are where k is 0
  int from, to, count, k, n, first, step, to_first, to_step, column, finish, film, skip;
};
// CONSTANTS

#if defined(__AVX512F__)
constexpr int W = 16;  // floats of a vector
#elif defined(__AVX__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif
typedef float V __attribute__((vector_size(W * 4), aligned(4), may_alias));
typedef int I __attribute__((vector_size(W * 4), aligned(4), may_alias));

constexpr int width_of(const Field& field) {
  return field.kind == ANGLE ? 2 * field.size : field.kind == QUATERNION ? 6 : field.size;
}
template <int N>
constexpr int sum(const Field (&fields)[N], bool widths) {
  int total = 0;
  for (const Field& field : fields) total += widths ? width_of(field) : field.size;
  return total;
}
constexpr int STATE_CODE = sum(STATE_FIELDS, true), STATE_NUMBERS = OBSERVATION_STEPS * STATE_CODE;
constexpr int ENCODED = sum(ACTION_FIELDS, true), ACTION_SIZE = sum(ACTION_FIELDS, false);
constexpr float FARTHEST = 2.0f, FARTHEST_ACTION = 1.05f, EPSILON = 1e-5f;

constexpr int padded(int count) { return (count + W - 1) / W * W; }

struct Rows {  // activations (T, C)
  int channels;
  std::vector<float> memory;
  Rows(int count, int channels) : channels(channels), memory((count + 2 * PAD) * channels + W) {}
  float* at(int t) { return &memory[(t + PAD) * channels]; }
};

struct Layer {  // weights (k, n) in panels of W columns, a bias, and gain and shift of a GroupNorm where there is one
  int k, n;
  std::vector<float> panels, bias, gain, shift;
};

template <int R, int N>
void tile(const float* x, int stride, int k, const float* w, const float* bias, float* y, int row) {
  V sum[R][N], v[N];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 16
    for (int j = 0; j < N; j++) sum[r][j] = *(const V*)(bias + W * j);
  for (int i = 0; i < k; i++) {
#pragma GCC unroll 16
    for (int j = 0; j < N; j++) v[j] = *(const V*)(w + ((long)j * k + i) * W);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 16
      for (int j = 0; j < N; j++) sum[r][j] += x[(long)r * stride + i] * v[j];
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 16
    for (int j = 0; j < N; j++) *(V*)(y + (long)r * row + W * j) = sum[r][j];
}

template <int R, int N>
void strip(const float* x, int stride, const Layer& p, float* y, int row) {
  int panels = padded(p.n) / W, j = 0;
  for (; j + N <= panels; j += N)
    tile<R, N>(x, stride, p.k, &p.panels[(size_t)j * p.k * W], &p.bias[j * W], y + j * W, row);
  for (; j < panels; j++) tile<R, 1>(x, stride, p.k, &p.panels[(size_t)j * p.k * W], &p.bias[j * W], y + j * W, row);
}

// y[t] = bias + x[t] weights for t < count. Rows of x and y begin `stride` and `row` floats apart.
void multiply(const float* x, int stride, int count, const Layer& p, float* y, int row) {
  int t = 0;
#if defined(__AVX512F__)
  for (; t + 16 <= count; t += 16) strip<16, 1>(x + (long)t * stride, stride, p, y + (long)t * row, row);
  for (; t + 8 <= count; t += 8) strip<8, 2>(x + (long)t * stride, stride, p, y + (long)t * row, row);
  for (; t + 4 <= count; t += 4) strip<4, 4>(x + (long)t * stride, stride, p, y + (long)t * row, row);
#endif
  for (; t + 4 <= count; t += 4) strip<4, 2>(x + (long)t * stride, stride, p, y + (long)t * row, row);
  for (; t < count; t++) strip<1, 8>(x + (long)t * stride, stride, p, y + (long)t * row, row);
}

V all(float a) { return a - V{}; }

// e^x for x in [-87, 88], after Cephes: 2^n times a polynomial of the rest.
V exponential(V x) {
  V scaled = x * 1.44269504088896341f;
  I n = __builtin_convertvector(scaled + (scaled < 0 ? all(-0.5f) : all(0.5f)), I);
  V whole = __builtin_convertvector(n, V);
  x = x - whole * 0.693359375f + whole * 2.12194440e-4f;
  V p = x * 1.9875691500e-4f + 1.3981999507e-3f;
  p = ((p * x + 8.3334519073e-3f) * x + 4.1665795894e-2f) * x + 1.6666665459e-1f;
  return ((p * x + 5.0000001201e-1f) * x * x + x + 1.0f) * (V)((n + 127) << 23);
}

V mish(V x) {  // x tanh(log(1 + e^x))
  V bounded = x > 40.0f ? all(40.0f) : x;
  V e = exponential(bounded < -87.0f ? all(-87.0f) : bounded);
  V n = e * (e + 2.0f);
  return x * (n / (n + 2.0f));
}

// what is no number stays none
float within(float x, float most) { return x < -most ? -most : x > most ? most : x; }

// A field as numbers without jumps: an angle is a point on the circle, a quaternion two columns of its rotation matrix.
void expand(const Field& field, const float* from, float* to, const float* low, const float* high) {
  if (field.kind == LINEAR) std::memcpy(to, from, field.size * sizeof(float));
  for (int i = 0; field.kind == ANGLE && i < field.size; i++) {
    to[i] = std::cos(from[i]);
    to[field.size + i] = std::sin(from[i]);
  }
  if (field.kind == QUATERNION) {
    const float n = std::sqrt(from[0] * from[0] + from[1] * from[1] + from[2] * from[2] + from[3] * from[3]);
    const float w = from[0] / n, a = from[1] / n, b = from[2] / n, c = from[3] / n;
    const float columns[6] = {1 - 2 * (b * b + c * c), 2 * (a * b + w * c), 2 * (a * c - w * b),
                              2 * (a * b - w * c), 1 - 2 * (a * a + c * c), 2 * (b * c + w * a)};
    std::memcpy(to, columns, sizeof columns);
  }
  for (int i = 0; i < width_of(field); i++)  // to [-1, 1]; 0 where the demonstrations were constant
    to[i] = high[i] > low[i] ? 2 * (to[i] - low[i]) / (high[i] - low[i]) - 1 : 0;
}

}  // namespace

struct fewstep_chunk {
  std::vector<float> weights;
  size_t taken = 0;
  const float *state_low, *state_high, *action_low, *action_high, *difference_scale, *steps, *film_time;
  float start, clip;  // scale of the first noise; largest x0 on the way, or 0
  std::vector<Layer> layers;  // of every operation
  std::vector<Rows> rows;
  std::vector<float> film, product, statistics, x, promised, measured;

  const float* take(size_t count) {
    taken += count;
    if (taken > weights.size()) throw std::length_error("chunk.bin is too short");
    return &weights[taken - count];
  }

  std::vector<float> take_padded(int count) {
    const float* from = take(count);
    std::vector<float> found(from, from + count);
    found.resize(padded(count));
    return found;
  }

  Layer take_layer(int k, int n, bool norm) {
    Layer layer{k, n, std::vector<float>((size_t)k * padded(n)), {}, {}, {}};
    const float* w = take((size_t)k * n);
    for (int i = 0; i < k; i++)
      for (int j = 0; j < n; j++) layer.panels[((size_t)(j / W) * k + i) * W + j % W] = w[(size_t)i * n + j];
    if (k) layer.bias = take_padded(n);
    if (norm) layer.gain = take_padded(n), layer.shift = take_padded(n);
    return layer;
  }

  bool read(const char* path) {
    std::FILE* file = std::fopen(path, "rb");
    if (!file) return false;
    for (float value; std::fread(&value, sizeof value, 1, file) == 1;) weights.push_back(value);
    std::fclose(file);
    unpack();
    return taken == weights.size();
  }

  void unpack() {
    state_low = take(STATE_CODE), state_high = take(STATE_CODE);
    action_low = take(ENCODED), action_high = take(ENCODED), difference_scale = take(HORIZON * ENCODED);
    start = *take(1), clip = *take(1), steps = take(8 * STEPS);
    int widest = W, most = 0;
    for (const Shape& shape : ROWS) rows.emplace_back(shape.count, shape.channels);
    for (const Operation& op : OPERATIONS) {
      layers.push_back(take_layer(op.k, op.n, op.finish == NORM));
      widest = padded(op.n) > widest ? padded(op.n) : widest, most = op.count > most ? op.count : most;
    }
    film_time = take((size_t)STEPS * rows[FILM].channels);
    film.resize(rows[FILM].channels + 2 * W), product.resize((size_t)most * widest), statistics.resize(4 * widest);
    x.resize(HORIZON * ENCODED), promised.resize(HORIZON * ENCODED), measured.resize(ENCODED);
  }

  // Put the mean over rows and channels of its group in place of every channel's sum.
  static void average(float* sums, int count, int group) {
    for (int first = 0; first < group * GROUPS; first += group) {
      float sum = 0;
      for (int c = first; c < first + group; c++) sum += sums[c];
      for (int c = first; c < first + group; c++) sums[c] = sum / (count * group);
    }
  }

  // Find gain and shift of each channel, in `statistics`, that normalise a product over the groups.
  void normalise(const Layer& layer, int count) {
    const int width = padded(layer.n), group = layer.n / GROUPS, size = count * width;
    float *gain = statistics.data(), *shift = gain + width, *mean = shift + width, *variance = mean + width;
    std::memset(mean, 0, 2 * width * sizeof(float));
    for (int i = 0, c = 0; i < size; i += W, c = c + W < width ? c + W : 0) *(V*)(mean + c) += *(V*)&product[i];
    average(mean, count, group);
    for (int i = 0, c = 0; i < size; i += W, c = c + W < width ? c + W : 0) {
      const V centred = *(V*)&product[i] - *(V*)(mean + c);
      *(V*)(variance + c) += centred * centred;
    }
    average(variance, count, group);
    for (int c = 0; c < layer.n; c++) {
      gain[c] = layer.gain[c] / std::sqrt(variance[c] + EPSILON);
      shift[c] = layer.shift[c] - mean[c] * gain[c];
    }
  }

  void run(const Operation& op, const Layer& layer) {
    const int width = padded(op.n);
    Rows &from = rows[op.from], &to = rows[op.to];
    if (op.k) multiply(from.at(op.first), op.step * from.channels, op.count, layer, product.data(), width);
    if (op.finish == NORM) normalise(layer, op.count);
    for (int t = 0; t < op.count; t++) {
      for (int c = 0; c < op.n && op.finish != PLAIN; c += W) {
        V z = *(V*)&product[t * width + c];
        if (op.finish == NORM) z = z * *(V*)&statistics[c] + *(V*)&statistics[width + c];
        z = mish(z);
        if (op.film >= 0) z = z * (*(V*)&film[op.film + c] + 1.0f) + *(V*)&film[op.film + op.n + c];
        if (op.skip >= 0) z += *(V*)(rows[op.skip].at(t) + c);
        *(V*)&product[t * width + c] = z;
      }
      const float* made = op.k ? &product[t * width] : from.at(t);
      std::memcpy(to.at(op.to_first + op.to_step * t) + op.column, made, op.n * sizeof(float));
    }
  }

  // One network evaluation of x, of which the first `length` actions are promised.
  void evaluate(int step, int length) {
    const int films = rows[FILM].channels;
    for (int i = 0; i < films; i++) film[i] = rows[FILM].at(0)[i] + film_time[(size_t)step * films + i];
    for (int t = 0; t < HORIZON; t++) {
      std::memcpy(rows[INPUT].at(t), &(t < length ? promised : x)[t * ENCODED], ENCODED * sizeof(float));
      if (PREFIX) rows[INPUT].at(t)[ENCODED] = t < length;
    }
    for (size_t i = ONCE; i < layers.size(); i++) run(OPERATIONS[i], layers[i]);
  }

  // States (O, size) of each field in robot units, then features of pictures: the FiLM of every block.
  void encode(const float* observation) {
    float* code = rows[CODE].at(0);
    int at = 0, s = 0;
    for (const Field& field : STATE_FIELDS) {
      for (int o = 0; o < OBSERVATION_STEPS; o++, observation += field.size) {
        float* to = code + o * STATE_CODE + at;
        expand(field, observation, to, state_low + at, state_high + at);
        for (int i = 0; i < width_of(field); i++) to[i] = within(to[i], FARTHEST);
      }
      int to = 0;
      for (const Field& action : ACTION_FIELDS) {
        if (action.measured_by == s && action.size == field.size)
          expand(action, observation - field.size, &measured[to], action_low + to, action_high + to);
        to += width_of(action);
      }
      at += width_of(field), s++;
    }
    std::memcpy(code + STATE_NUMBERS, observation, PICTURE_NUMBERS * sizeof(float));
    for (int i = 0; i < ONCE; i++) run(OPERATIONS[i], layers[i]);
  }

  void encode_prefix(const float* prefix, int length) {
    for (int t = 0; t < length; t++) {
      float* row = &promised[t * ENCODED];
      int at = 0;
      for (const Field& field : ACTION_FIELDS) {
        expand(field, prefix, row + at, action_low + at, action_high + at);
        prefix += field.size, at += width_of(field);
      }
      const float* by = difference_scale + t * ENCODED;
      for (int e = 0; e < ENCODED; e++) row[e] = by[e] > 0 ? (row[e] - measured[e]) / by[e] : 0;
    }
  }

  void draw(const float* noise, int length) {
    for (int i = 0; i < HORIZON * ENCODED; i++) x[i] = start * noise[i];
    for (int step = 0; step < STEPS; step++) {
      evaluate(step, length);
      const float *s = steps + 8 * step, *fresh = step + 1 < NOISES ? noise + (step + 1) * HORIZON * ENCODED : nullptr;
      for (int i = 0; i < HORIZON * ENCODED; i++) {
        const float output = rows[OUTPUT].at(0)[i];
        float x0 = s[0] * x[i] + s[1] * output, eps = s[2] * x[i] + s[3] * output;
        if (clip > 0) x0 = within(x0, clip);
        x[i] = s[4] * x[i] + s[5] * x0 + s[6] * eps + (fresh ? s[7] * fresh[i] : 0);
      }
    }
  }

  void decode(float* actions) {
    for (int t = 0; t < HORIZON; t++) {
      float* row = &x[t * ENCODED];
      for (int e = 0; e < ENCODED; e++) {
        row[e] = within(row[e] * difference_scale[t * ENCODED + e] + measured[e], FARTHEST_ACTION);
        row[e] = (row[e] + 1) / 2 * (action_high[e] - action_low[e]) + action_low[e];
      }
      for (const Field& field : ACTION_FIELDS) {
        for (int i = 0; i < field.size; i++)
          actions[i] = field.kind == ANGLE ? std::atan2(row[field.size + i], row[i]) : row[i];
        actions += field.size, row += width_of(field);
      }
    }
  }
};

extern "C" fewstep_chunk* fewstep_chunk_open(const char* weights) {
  try {
    std::unique_ptr<fewstep_chunk> chunk(new fewstep_chunk);
    return chunk->read(weights) ? chunk.release() : nullptr;
  } catch (const std::exception&) {
    return nullptr;
  }
}

extern "C" void fewstep_chunk_predict(fewstep_chunk* chunk, const float* observation, const float* noise,
                                      const float* prefix, int prefix_length, float* actions) {
  const int length = !PREFIX || !prefix ? 0 : prefix_length < HORIZON ? prefix_length : HORIZON;
  chunk->encode(observation);
  chunk->encode_prefix(prefix, length);
  chunk->draw(noise, length);
  chunk->decode(actions);
  if (length > 0) std::memcpy(actions, prefix, sizeof(float) * length * ACTION_SIZE);
}

extern "C" void fewstep_chunk_close(fewstep_chunk* chunk) { delete chunk; }
