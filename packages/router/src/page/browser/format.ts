/** Numbers as people read them. */

const units = ['B', 'kB', 'MB', 'GB', 'TB'] as const

/** Bytes in units of 1,000. */
export function bytes(value: number): string {
  let scaled = value
  let unit = 0
  while (scaled >= 1_000 && unit < units.length - 1) {
    scaled /= 1_000
    unit++
  }
  return `${unit === 0 ? String(Math.round(scaled)) : threeDigits(scaled)} ${units[unit] ?? ''}`
}

/** Bytes per second as bits per second. */
export function bitRate(bytesPerSecond: number): string {
  const bits = bytesPerSecond * 8
  if (bits < 1_000) return `${Math.round(bits)} bit/s`
  if (bits < 1e6) return `${threeDigits(bits / 1e3)} kbit/s`
  if (bits < 1e9) return `${threeDigits(bits / 1e6)} Mbit/s`
  return `${threeDigits(bits / 1e9)} Gbit/s`
}

/** A time in milliseconds, down to microseconds; a dash where nothing was measured. */
export function milliseconds(value: number | null | undefined): string {
  if (value === null || value === undefined) return '–'
  if (value < 1) return `${Math.round(value * 1_000)} µs`
  if (value < 1_000) return `${threeDigits(value)} ms`
  return duration(value / 1_000)
}

/** Seconds as the two largest units. */
export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds < 10 ? threeDigits(seconds) : Math.round(seconds)} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return `${hours} h ${minutes % 60} min`
  return `${Math.floor(hours / 24)} d ${hours % 24} h`
}

/** A share of 1 in percent. */
export function percent(ratio: number): string {
  return ratio === 0 ? '0 %' : `${threeDigits(ratio * 100)} %`
}

/** A whole number with its thousands apart. */
export function count(value: number): string {
  return value.toLocaleString('en-GB')
}

function threeDigits(value: number): string {
  if (value >= 100) return value.toFixed(0)
  return value >= 10 ? value.toFixed(1) : value.toFixed(2)
}
