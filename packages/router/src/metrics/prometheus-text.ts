/** Writes metrics in the text format that Prometheus scrapes (version 0.0.4). */
import type { HistogramSnapshot } from './histogram.ts'

export const prometheusContentType = 'text/plain; version=0.0.4; charset=utf-8'

export type Labels = Readonly<Record<string, string>>

/** Families are written in the order of the calls; `toString` gives the document. */
export class PrometheusText {
  readonly #lines: string[] = []

  counter(name: string, help: string, samples: Iterable<readonly [Labels, number]>): void {
    this.#family(name, 'counter', help, samples)
  }

  gauge(name: string, help: string, samples: Iterable<readonly [Labels, number]>): void {
    this.#family(name, 'gauge', help, samples)
  }

  histogram(name: string, help: string, samples: Iterable<readonly [Labels, HistogramSnapshot]>): void {
    const lines: string[] = []
    for (const [labels, { bounds, cumulative, sum, count }] of samples) {
      for (const [at, value] of cumulative.entries()) {
        const le = at < bounds.length ? String(bounds[at]) : '+Inf'
        lines.push(`${name}_bucket${labelText({ ...labels, le })} ${value}`)
      }
      lines.push(`${name}_sum${labelText(labels)} ${numberText(sum)}`, `${name}_count${labelText(labels)} ${count}`)
    }
    this.#write(name, 'histogram', help, lines)
  }

  toString(): string {
    return `${this.#lines.join('\n')}\n`
  }

  #family(name: string, type: string, help: string, samples: Iterable<readonly [Labels, number]>): void {
    const lines: string[] = []
    for (const [labels, value] of samples) lines.push(`${name}${labelText(labels)} ${numberText(value)}`)
    this.#write(name, type, help, lines)
  }

  #write(name: string, type: string, help: string, lines: readonly string[]): void {
    if (lines.length === 0) return
    this.#lines.push(
      `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`,
      `# TYPE ${name} ${type}`,
    )
    for (const line of lines) this.#lines.push(line)
  }
}

function labelText(labels: Labels): string {
  const parts = Object.entries(labels).map(([key, value]) => `${key}="${escapeLabel(value)}"`)
  return parts.length === 0 ? '' : `{${parts.join(',')}}`
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}

function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value)
  if (Number.isNaN(value)) return 'NaN'
  return value > 0 ? '+Inf' : '-Inf'
}
