/** Tests of the Prometheus text format: what a scraper must be able to read whatever names and values there are. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Histogram } from './histogram.ts'
import { PrometheusText } from './prometheus-text.ts'

test('labels are escaped, so that a value cannot end its line or its quotes', () => {
  const text = new PrometheusText()
  text.counter('a_total', 'One\nline.', [[{ x: 'a"b\\c\nd' }, 1]])
  assert.equal(text.toString(), '# HELP a_total One\\nline.\n# TYPE a_total counter\na_total{x="a\\"b\\\\c\\nd"} 1\n')
})

test('a family without samples is left out, special numbers have their names', () => {
  const text = new PrometheusText()
  text.gauge('none', 'Nothing.', [])
  text.gauge('g', 'Special.', [
    [{}, Number.POSITIVE_INFINITY],
    [{ a: '1' }, Number.NaN],
  ])
  assert.equal(text.toString(), '# HELP g Special.\n# TYPE g gauge\ng +Inf\ng{a="1"} NaN\n')
})

test('a histogram counts each value in its bucket and all above, with sum and count', () => {
  const histogram = new Histogram([1, 2])
  for (const value of [0.5, 1, 1.5, 9]) histogram.add(value)
  const text = new PrometheusText()
  text.histogram('h', 'Values.', [[{ s: 'a' }, histogram.snapshot()]])
  assert.deepEqual(text.toString().trim().split('\n').slice(2), [
    'h_bucket{s="a",le="1"} 2',
    'h_bucket{s="a",le="2"} 3',
    'h_bucket{s="a",le="+Inf"} 4',
    'h_sum{s="a"} 12',
    'h_count{s="a"} 4',
  ])
})
