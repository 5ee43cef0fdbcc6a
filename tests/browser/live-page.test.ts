/** The live page of the router in a real Chromium: figures, keyboard, both colour schemes, nothing from elsewhere. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { scratchDirectory, startRouterProcess } from '../process/cli-process.ts'
import { connectClient, startService, startStand } from '../process/router-stand.ts'
import { type Page, startChromium } from './chromium.ts'

/** Text of the first element that a selector finds. */
const textOf = (selector: string): string => `document.querySelector(${JSON.stringify(selector)})?.innerText`

/** Presses Tab until the element with this text has the focus. */
async function tabTo(page: Page, text: string): Promise<void> {
  for (let presses = 0; presses < 40; presses++) {
    await page.press('Tab')
    if ((await page.evaluate('document.activeElement?.innerText')) === text) return
  }
  assert.fail(`Tab never came to "${text}"`)
}

/** WCAG contrast of an element's text on its card. */
const contrast = (selector: string): string => `(() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const text = document.querySelector(${JSON.stringify(selector)})
  const [a, b] = [getComputedStyle(text).color, getComputedStyle(text.closest('.card, .tile')).backgroundColor].map(light)
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
})()`

test('the page shows connections, paths, streams and latencies as they are, works by keyboard, and asks nobody else', async (t) => {
  const service = await startService(t, 'api')
  const stand = await startStand(
    t,
    `[[service]]\nname = "api"\nprefix = "/"\nurl = "http://127.0.0.1:${service.port}"\n`,
  )
  const page = await startChromium(t)
  await page.prefer('light')
  await page.goTo(`${stand.admin}/`)
  await page.until(`${textOf('.state')} === 'serving'`)
  assert.match(String(await page.evaluate(textOf('#streams ~ .scroll'))), /No request has come yet/u)

  const client = await connectClient(t, stand.port, stand.certificate.certificatePem)
  await client.get('/shown?on=page')
  const running = await client.open('/held/page')
  await page.until(`${textOf('#streams ~ .scroll')}.includes('GET /shown?on=page')`)
  await page.until(`${textOf('#streams ~ .scroll')}.includes('open')`)
  await page.until(
    `/path 0 127\\.0\\.0\\.1:\\d+ ↔ 127\\.0\\.0\\.1:\\d+/.test(${textOf('#connections-and-paths ~ .scroll')})`,
  )
  await page.until(`document.querySelectorAll('.plot canvas').length === 3`)
  await page.until(`/Latency\\. Now: api [\\d.]+ (µs|ms|s)/.test(document.querySelectorAll('.plot')[1].ariaLabel)`)

  await t.test('every action is reached by Tab, asks first, and Escape leaves it', async () => {
    await tabTo(page, 'Reload')
    await page.press('Enter')
    await page.until(`document.querySelector('dialog')?.open`)
    await page.press('Escape')
    await page.until(`document.querySelector('dialog') === null`)
    await page.until(`document.activeElement?.innerText === 'Reload'`)
    await page.press('Enter')
    await page.until(`document.querySelector('dialog')?.contains(document.activeElement)`)
    assert.equal(await page.evaluate('document.activeElement?.innerText'), 'Reload')
    await page.press('Enter')
    await page.until(`${textOf('.notice')} === 'Reloaded: nothing has changed.'`)
    await tabTo(page, 'Close')
    await page.press('Enter')
    await page.until(`${textOf('#question')} === 'Close connection 1?'`)
    await page.until(`document.activeElement?.innerText === 'Close it'`)
    await page.press('Enter')
    await page.until(`${textOf('.notice')} === 'Connection 1 is closed.'`)
    await assert.rejects(running.body.text())
  })

  await t.test('light and dark follow the system, the button changes them, and text keeps its contrast', async () => {
    const surface = 'getComputedStyle(document.body).backgroundColor'
    const light = await page.evaluate(surface)
    for (const scheme of ['light', 'dark'] as const) {
      await page.prefer(scheme)
      await page.until(`document.documentElement.dataset.theme === '${scheme}'`)
      for (const selector of ['.about', '.tile dt', '.card h2', '.outcome'])
        assert.ok(Number(await page.evaluate(contrast(selector))) >= 4.5, `${selector} in ${scheme}`)
      const folder = process.env['QUICETHER_SCREENSHOTS']
      if (folder !== undefined) writeFileSync(join(folder, `live-page-${scheme}.png`), await page.screenshot())
    }
    assert.notEqual(await page.evaluate(surface), light)
    await page.evaluate(`[...document.querySelectorAll('button')].find((b) => b.innerText === 'Theme: auto').click()`)
    await page.until(`document.documentElement.dataset.theme === 'light'`)
    assert.equal(await page.evaluate(surface), light)
  })

  await t.test('a router that ends is said to be gone', async () => {
    stand.router.signal('SIGTERM')
    await page.until(`${textOf('.state')} === 'not answering'`)
    assert.equal((await stand.router.exit()).code, 0)
  })

  assert.deepEqual(
    page.requests.filter((url) => !url.startsWith(`${stand.admin}/`) && !url.startsWith('data:')),
    [],
  )
  // After the router has gone the browser reports the stream that it cannot open.
  assert.deepEqual(
    page.complaints.filter((text) => !/Failed to load resource: net::ERR/u.test(text)),
    [],
  )
})

test('with page = false there is the endpoint alone', async (t) => {
  const directory = scratchDirectory(t)
  writeFileSync(join(directory, 'router.toml'), '[admin]\nlisten = "127.0.0.1:0"\npage = false\n')
  const { process: router } = await startRouterProcess(t, directory, ['--config', 'router.toml'])
  const admin = (await router.output(/admin +(http:\S+)/u))[1] ?? ''
  assert.equal((await fetch(`${admin}/`)).status, 404)
  assert.equal((await fetch(`${admin}/api/status`)).status, 200)
})
