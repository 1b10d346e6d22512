// Sound that is not compressed: WAV files and bare samples, in chunks that may end anywhere.

export interface Samples {
  rate: number;
  /** One array a channel, from -1 to 1. */
  channels: Float32Array<ArrayBuffer>[];
}

interface Format {
  rate: number;
  channels: number;
  bits: number;
  float: boolean;
  bigEndian: boolean;
}

const MOST_CHANNELS = 32;
const LONGEST_HEAD = 1 << 20;

/** `audio/pcm;rate=24000;channels=1`: 16 bits, little-endian; `audio/L16`: big-endian, as RFC 2586 has it. Null for other types. */
export function formatOf(mime: string): Format | null {
  const [type = "", ...parameters] = mime.toLowerCase().split(";").map((part) => part.trim());
  if (type !== "audio/pcm" && type !== "audio/l16") return null;
  const given = new Map(parameters.map((part) => part.split("=", 2) as [string, string]));
  const [rate, channels] = [Number(given.get("rate") ?? 24_000), Number(given.get("channels") ?? 1)];
  if (!isRate(rate) || !isCount(channels)) return null;
  // Google's L16 names its codec, and is little-endian.
  return { rate, channels, bits: 16, float: false, bigEndian: type === "audio/l16" && given.get("codec") !== "pcm" };
}

export function isWav(mime: string): boolean {
  return /^audio\/(vnd\.|x-)?wave?$/i.test(mime.split(";")[0]?.trim() ?? "");
}

export class PcmReader {
  #format: Format | null;
  #head: Uint8Array | null = null; // of a file, as long as it is not whole
  #rest: Uint8Array = new Uint8Array(); // of a sample
  #left = Infinity; // bytes of the file's samples

  constructor(mime: string) {
    this.#format = formatOf(mime);
    if (!this.#format) this.#left = 0; // until a file begins
  }

  /** The samples that end in this chunk; null if there are none. Throws an `Error` for a file that it cannot read. */
  read(chunk: Uint8Array): Samples | null {
    if (this.#head || text(chunk, 0) === "RIFF" || (!this.#format && "RIFF".startsWith(text(chunk, 0)))) {
      const head = joined(this.#head ?? new Uint8Array(), chunk);
      const start = this.#begin(head);
      this.#head = start === null ? head : null;
      if (start === null) return null;
      this.#rest = new Uint8Array();
      chunk = head.subarray(start);
    }
    const format = this.#format;
    if (!format || this.#left <= 0) return null;
    if (chunk.length > this.#left) chunk = chunk.subarray(0, this.#left);
    this.#left -= chunk.length;
    const bytes = joined(this.#rest, chunk);
    const frame = (format.bits / 8) * format.channels;
    const count = Math.floor(bytes.length / frame);
    this.#rest = bytes.slice(count * frame);
    if (!count) return null;
    return { rate: format.rate, channels: samplesOf(new DataView(bytes.buffer, bytes.byteOffset), format, count) };
  }

  /** Where the samples begin in a file; null as long as that has not come. */
  #begin(file: Uint8Array): number | null {
    const view = new DataView(file.buffer, file.byteOffset, file.length);
    for (let at = 12; at + 8 <= file.length; ) {
      const [name, size] = [text(file, at), view.getUint32(at + 4, true)];
      at += 8;
      if (name === "data") {
        if (!this.#format) break;
        // Who writes a file while it is made does not know its size.
        this.#left = size === 0 || size >= 0x7fff_0000 ? Infinity : size;
        return at;
      }
      if (name === "fmt ") {
        if (at + size > file.length) return null;
        this.#format = waveFormat(view, at, size);
      }
      at += size + (size % 2);
    }
    if (file.length > LONGEST_HEAD) throw new Error("it is no WAV file");
    return null;
  }
}

function waveFormat(view: DataView, at: number, size: number): Format {
  let code = view.getUint16(at, true);
  if (code === 0xfffe && size >= 26) code = view.getUint16(at + 24, true);
  const format = { rate: view.getUint32(at + 4, true), channels: view.getUint16(at + 2, true), bits: view.getUint16(at + 14, true), float: code === 3, bigEndian: false };
  const known = code === 1 ? [8, 16, 24, 32] : code === 3 ? [32, 64] : [];
  if (!known.includes(format.bits) || !isRate(format.rate) || !isCount(format.channels)) {
    throw new Error(`WAV of the format ${code} with ${format.bits} bits is not known`);
  }
  return format;
}

function samplesOf(view: DataView, { channels, bits, float, bigEndian }: Format, count: number): Float32Array<ArrayBuffer>[] {
  const readers: Record<string, (at: number) => number> = {
    u8: (at: number) => (view.getUint8(at) - 128) / 128,
    s16: (at: number) => view.getInt16(at, !bigEndian) / 32768,
    s24: (at: number) => ((view.getInt8(at + 2) << 16) | view.getUint16(at, true)) / 8388608,
    s32: (at: number) => view.getInt32(at, true) / 2147483648,
    f32: (at: number) => view.getFloat32(at, true),
    f64: (at: number) => view.getFloat64(at, true),
  };
  const read = readers[`${float ? "f" : bits === 8 ? "u" : "s"}${bits}`] as (at: number) => number;
  const size = bits / 8;
  return Array.from({ length: channels }, (_, channel) => Float32Array.from({ length: count }, (_, frame) => read((frame * channels + channel) * size)));
}

function isRate(rate: number): boolean {
  return rate >= 3000 && rate <= 768_000; // what an AudioContext takes
}

function isCount(channels: number): boolean {
  return Number.isInteger(channels) && channels >= 1 && channels <= MOST_CHANNELS;
}

function text(bytes: Uint8Array, at: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + 4));
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  if (!first.length) return second;
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
