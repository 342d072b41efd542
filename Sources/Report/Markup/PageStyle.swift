// SPDX-License-Identifier: GPL-3.0-or-later

extension Stylesheet {
  /// How a report looks: light and dark as the reader has it, narrow and wide, and on paper, where it is light.
  static let page = Stylesheet(
    ":root{color-scheme:light dark;\(Palette.light.properties)}"
      + "@media (prefers-color-scheme:dark){:root{\(Palette.dark.properties)}}"
      + base + parts + hues + paper)

  private static let base = """
    *{box-sizing:border-box}
    html{-webkit-text-size-adjust:100%}
    @media (prefers-reduced-motion:no-preference){html{scroll-behavior:smooth}}
    body{margin:0;background:var(--page);color:var(--text);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
    header,nav,main,footer{max-width:1180px;margin:0 auto;padding:0 20px}
    header{padding-top:28px}
    h1{font-size:26px;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
    h2{font-size:20px;margin:0 0 4px}
    h3{font-size:16px;margin:22px 0 4px}
    p{margin:6px 0 12px;max-width:76ch}
    a{color:var(--link)}
    code{font:13px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
    .lead,.note,figcaption,caption{color:var(--quiet)}
    section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:18px 20px;margin:16px 0;scroll-margin-top:56px}
    nav{position:sticky;top:0;z-index:2;background:var(--page);border-bottom:1px solid var(--line)}
    nav ul{display:flex;gap:4px 16px;list-style:none;margin:0;padding:8px 0;overflow-x:auto;white-space:nowrap}
    nav a{text-decoration:none;font-size:14px;display:block;padding:4px 0}
    nav a:hover{text-decoration:underline}
    footer{padding:4px 20px 28px;color:var(--quiet)}
    .skip{position:absolute;left:-999px;top:4px;background:var(--card);padding:6px 12px;z-index:3}
    .skip:focus{left:8px}
    a:focus-visible,summary:focus-visible,[tabindex]:focus-visible{outline:3px solid var(--link);outline-offset:2px;border-radius:3px}
    main:focus{outline:none}

    """

  private static let parts = """
    .cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:12px;margin:10px 0 12px}
    .card{border:1px solid var(--line);border-radius:8px;padding:10px 14px}
    .card dt{color:var(--quiet);font-size:13px}
    .card dd{margin:0}
    .card strong{display:block;font-size:22px;line-height:1.3;overflow-wrap:anywhere}
    .card span{color:var(--quiet);font-size:13px;display:block}
    .facts{margin:0;padding-left:20px}
    .facts li{margin:4px 0;max-width:100ch;overflow-wrap:anywhere}
    figure{margin:12px 0}
    figcaption{font-size:13px;margin-top:4px}
    .scroll{overflow-x:auto;max-width:100%;margin:8px 0;background:linear-gradient(90deg,var(--card) 40%,transparent) left/40px 100%,linear-gradient(270deg,var(--card) 40%,transparent) right/40px 100%,linear-gradient(90deg,var(--shadow),transparent) left/14px 100%,linear-gradient(270deg,var(--shadow),transparent) right/14px 100%;background-repeat:no-repeat;background-attachment:local,local,scroll,scroll}
    table{border-collapse:collapse;font-size:14px;min-width:40%}
    caption{text-align:left;font-size:13px;padding:2px 0 4px}
    caption span{display:inline-block;position:sticky;left:0;max-width:calc(100vw - 70px)}
    th,td{text-align:left;padding:4px 12px 4px 0;border-bottom:1px solid var(--line);vertical-align:middle}
    th{font-weight:600}
    thead th.n{white-space:normal}
    thead th{color:var(--quiet);font-size:13px;vertical-align:bottom}
    tbody th{font-weight:500;white-space:nowrap}
    .scroll tbody th,.scroll thead th:first-child{position:sticky;left:0;background:var(--card);z-index:1}
    .narrow{width:auto;max-width:100%;margin:8px 0}
    .narrow th,.narrow td{white-space:normal;overflow-wrap:anywhere}
    .narrow tbody th{overflow-wrap:break-word;min-width:8em;vertical-align:top}
    .narrow td{min-width:9em}
    .n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
    td small{color:var(--quiet)}
    tr.own>*{font-weight:700}
    td.b{min-width:180px}
    .scroll td.w{min-width:260px}
    .even{table-layout:fixed;width:1px;min-width:0}
    .even col{width:calc(var(--w)*1px)}
    .even tbody th,.even td{white-space:normal;overflow-wrap:break-word}
    .even caption span{min-width:min(700px,calc(100vw - 70px))}
    .many{font-size:13px}
    .many th,.many td{padding-right:8px}
    .bar{display:block;background:var(--page);border-radius:3px}
    .card .bar{margin:2px 0 4px}
    svg{display:block;overflow:hidden}
    .legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 16px;padding:0;margin:6px 0;font-size:13px}
    .swatch{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px}
    .swatch.turns{background:repeating-linear-gradient(90deg,var(--forward) 0 3px,var(--backward) 3px 8px)}
    .turns{fill:none;stroke-dasharray:3 5}
    .swatch.waits{background:var(--grey-tint);border:1px dashed var(--grey)}
    .swatch.done{border:1px solid var(--grey)}
    .dot{display:inline-block;width:10px;height:10px;border-radius:5px;margin-right:6px}
    .chip{display:inline-block;border-radius:4px;padding:0 7px;font-size:12.5px;line-height:1.55;white-space:nowrap}
    details{border-top:1px solid var(--line);padding:4px 0}
    summary{cursor:pointer;padding:6px 0;font-weight:600;overflow-wrap:anywhere}
    .topology{display:flex}
    .level:has(>.boxes){width:100%}
    .level{border:1px solid var(--quiet);border-radius:8px;padding:6px 10px 10px;min-width:0;max-width:100%}
    .level-name{margin:0 0 6px;font-size:13px;color:var(--quiet)}
    .level-name strong{color:var(--text)}
    .level-name em{color:var(--text);font-style:normal;font-weight:600}
    .boxes{display:grid;gap:8px;align-items:start;grid-template-columns:repeat(auto-fill,minmax(min(100%,var(--least,255px)),1fr))}
    .mesh{border:1px dashed var(--quiet);border-radius:6px;padding:4px}
    .mesh-row{display:grid;grid-template-columns:repeat(var(--n),max-content);gap:3px;justify-content:start;border-left:3px solid var(--quiet);border-radius:3px;padding:1px 0 1px 4px}
    .mesh-row+.mesh-row{margin-top:4px}
    .mesh-axes{list-style:none;margin:6px 0 0;padding:0;font-size:12.5px;flex-basis:100%}
    .parts td{padding:2px 4px 2px 0}
    .parts .chip{display:block;text-align:center}
    .units{display:flex;flex-wrap:wrap;gap:8px;align-items:flex-start}
    .device{min-width:34px;padding:3px 5px;border-radius:4px;text-align:center;font-size:12px;font-variant-numeric:tabular-nums}
    .more{margin:0;align-self:center;font-size:13px;color:var(--quiet)}
    .rows{display:flex;gap:8px}
    .row-names{display:flex;flex-direction:column;font-size:11px;color:var(--quiet);text-align:right;white-space:nowrap}
    .row-names span{display:block;line-height:1.6}
    .row-boxes{flex:1;min-width:0;padding-right:1px}
    .axis{display:flex;justify-content:space-between;font-size:12px;color:var(--quiet);border-top:1px solid var(--quiet);padding-top:2px}
    .ticks{position:relative;height:20px;font-size:12px;color:var(--quiet);border-top:1px solid var(--quiet)}
    .ticks span{position:absolute;top:3px;white-space:nowrap;transform:translateX(-50%)}
    .ticks span::before{content:"";position:absolute;left:50%;top:-3px;height:4px;border-left:1px solid var(--quiet)}
    .ticks span.first,.ticks span[style^=right]{transform:none}
    .ticks span.first::before{left:0}
    .ticks span[style^=right]::before{left:100%}
    .memory-axis{display:grid;font-size:12px;line-height:16px;color:var(--quiet);text-align:right;white-space:nowrap;border-right:1px solid var(--quiet);margin-top:8px}
    .memory-axis+.row-boxes{margin-top:8px;margin-left:-8px}
    .memory-axis span{grid-area:1/1;align-self:start;position:relative;padding-right:7px}
    .memory-axis span::after{content:"";position:absolute;right:0;top:50%;width:4px;border-top:1px solid var(--quiet)}
    text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:var(--text)}
    text.s{font-size:11px;white-space:pre}
    text.b{font-weight:600}
    text.quiet{fill:var(--quiet)}
    .edges{fill:none;stroke:var(--quiet);stroke-width:1.4}
    .rim{fill:none;stroke:var(--card);stroke-width:5}
    .head{fill:var(--quiet)}
    .track{fill:var(--line)}
    .flow{display:none;list-style:none;margin:8px 0;padding:0;font-size:13px}
    .flow li{border-left:3px solid var(--line);padding:2px 0 6px 10px;overflow-wrap:anywhere}
    .flow ul{list-style:none;margin:0;padding-left:14px;color:var(--quiet)}
    .flow ul li{border:0;padding:0}
    .seam{fill:none;stroke:var(--quiet);stroke-dasharray:3 3}
    .conversion{stroke-width:1.6}
    .edge{stroke:var(--card);stroke-width:1}
    .gap{stroke:var(--card);stroke-width:1}
    .wait{fill:var(--grey-tint);stroke-dasharray:2 3;stroke-width:1;vector-effect:non-scaling-stroke}
    .done{fill:none;stroke-width:1;vector-effect:non-scaling-stroke}
    .limit{stroke:var(--text);stroke-width:2;stroke-dasharray:5 3}
    .odd{stroke-dasharray:4 2}
    .warning{border-left:4px solid var(--red);padding-left:10px}
    @media (max-width:600px){.wide{display:none}.mesh-row.long{--n:4!important}.parts td:not(.n){min-width:0}header,nav,main,footer{padding-left:12px;padding-right:12px}section{padding:14px 12px}h1{font-size:21px}.level{padding:4px 6px 8px}th,td{padding-right:9px}.scroll tbody th{white-space:normal;overflow-wrap:anywhere;max-width:34vw}.scroll tbody th:not(.n){min-width:92px}.scroll td:not(.n){min-width:120px}.scroll td.b{min-width:72px}.scroll td.w{min-width:330px}.even col.w{width:560px}.even col:nth-child(7){width:300px}.even col:first-child{width:110px}.narrow thead:not(:has(th:not(:empty))){display:none}.graph{display:none}.flow{display:block}}

    """

  private static let hues = Hue.allCases.map { hue in
    ".bg-\(hue){background:var(--\(hue));color:var(--\(hue)-ink)}.i-\(hue){fill:var(--\(hue)-ink)}.f-\(hue){fill:var(--\(hue))}.s-\(hue){stroke:var(--\(hue))}"
      + ".k-\(hue){fill:var(--\(hue)-tint);stroke:var(--\(hue))}"
  }.joined()

  /// Light, without what only a screen can do. Figures stay with their legends and captions; graphs and tables go on over pages. What is folded because it
  /// is long stays so.
  private static let paper =
    "@media print{:root{color-scheme:light;\(Palette.light.properties)}"
      + """
      *{print-color-adjust:exact;-webkit-print-color-adjust:exact}
      body{font-size:11px;background:none}nav,.skip{display:none}header,main,footer{max-width:none;padding:0}
      section{border:0;border-top:2px solid var(--line);border-radius:0;padding:10px 1px}
      .scroll{overflow:visible;background:none}.scroll svg{max-width:100%;height:auto}
      .scroll tbody th,.scroll thead th:first-child{position:static}
      table{font-size:9.5px}.chip,code{font-size:inherit}caption,thead th,figcaption,.legend{font-size:9.5px}
      th,td{padding:2px 7px 2px 0}td.b{min-width:80px}.many{font-size:8px}.many th,.many td{padding-right:4px}.many td{overflow-wrap:anywhere}.scroll td.w{min-width:0}
      .even{font-size:8px}.even col{width:calc(var(--w)*.6px)}
      p,li{orphans:3;widows:3}tr,.card,.level,figure,.rows,.pieces svg{break-inside:avoid}
      figure:has(.graph){break-inside:auto}
      .lead{break-inside:avoid}p:has(+figure,+.legend){break-inside:avoid;break-after:avoid}
      h2,h3,summary,.legend,.lead,caption,thead{break-after:avoid}figcaption,.axis,.ticks{break-before:avoid}
      summary{list-style:none}summary::-webkit-details-marker{display:none}
      details::details-content{content-visibility:visible;display:block}details.long{display:none}
      }
      @page{margin:14mm;@bottom-right{content:counter(page) " / " counter(pages);font:9px sans-serif;color:#525b66}}
      """
}
