"""Takes the screenshots of docs/demo.md: python -m harness.demo_page.screenshots"""

from harness import demo_page
from harness.devtools import Tab
from harness.envoy import ROOT, Config, Envoy
from harness.server_process import free_port
from harness.standin import Standin

QUESTION = "Why+is+a+cache+in+front+of+a+model+a+good+idea%3F"
# After the page has read the counters once more.
SAVED = "document.getElementById('main').innerText.includes('84')"


def main() -> None:
    for scheme in ("light", "dark"):
        with Standin() as standin:
            config = Config.for_tests(standin.port)
            config.tree["admin"]["address"]["socket_address"]["port_value"] = free_port()
            demo_page.serve(config, demo_page.standin_settings(standin))
            with Envoy(config) as envoy, Tab(1200, 1100) as tab:
                tab.open(f"{envoy.url}/demo/#ask=1&question={QUESTION}", dark=scheme == "dark")
                tab.wait_for("document.body?.dataset.asked === '1'")
                tab.wait_for(SAVED)
                (ROOT / "docs" / f"demo-{scheme}.png").write_bytes(tab.screenshot())


if __name__ == "__main__":
    main()
