"""The report: figures and the page. In: clips, histories and scores as plain values. Out: HTML, SVG and PNG."""
